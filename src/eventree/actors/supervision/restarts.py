"""What a supervisor does about the ends of its children: who is restarted, when, and with whom."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import Protocol

from eventree.actors.actor.actor import StopActor
from eventree.actors.events import ChildEnded, SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, wish_to_exit
from eventree.actors.supervision.crash_log import Reports
from eventree.actors.supervision.intensity import RestartBudget
from eventree.actors.supervision.messages import AnyChild, RestartFailed
from eventree.actors.supervision.options import AutoShutdown, Flags, Restart, Strategy, is_restarted, restart_group
from eventree.errors import ChildStartError


class SignificantEnd(StopActor):
    """The supervisor ends because its significant children have."""

    kind = ExitKind.SHUTDOWN


class Siblings(Protocol):
    """The children of one supervisor, as far as restarts concern them."""

    name: str
    flags: Flags
    emit: Callable[[SupervisorEvent], None]

    def __iter__(self) -> Iterator[AnyChild]:
        """Iterate in start order."""
        ...

    @property
    def ids(self) -> Collection[Hashable]:
        """The ids of all, in start order."""
        ...

    def find(self, id: Hashable) -> AnyChild:
        """Return a child by its id."""
        ...

    def has(self, child: AnyChild) -> bool:
        """Return whether it is one of these."""
        ...

    def retire(self, child: AnyChild) -> None:
        """Leave a child stopped; a temporary one is forgotten."""
        ...

    async def start(self, child: AnyChild, give_up: "asyncio.Future[None]") -> None:
        """Start a child; raises `ChildStartError`."""
        ...

    def child_exited(self, child: AnyChild, reason: ExitReason, *, is_known: bool = False) -> None:
        """Let the supervisor hear of an end."""
        ...


class Restarts:
    """Decide at once what follows from an end, and carry it out when its turn has come."""

    def __init__(self, children: Siblings, reports: Reports, clock: Callable[[], float]) -> None:
        """Begin with all restarts to come.

        Args:
            children: Whom they concern.
            reports: Writes the log.
            clock: Returns the time in seconds.
        """
        self._children = children
        self._reports = reports
        self._budget = RestartBudget(children.name, children.flags, clock)
        self._due: dict[Hashable, AnyChild] = {}  # whose end led to a restart that is not over
        self._left: set[AnyChild] = set()  # who ended meanwhile

    def change(self, flags: Flags) -> None:
        """Go by new rules, which `children` have already."""
        self._budget.change(flags)
        self.look_after_the_left()

    def started(self, child: AnyChild) -> None:
        """Note that a child runs."""
        self._budget.started(child)

    def is_restarting(self, child: AnyChild) -> bool:
        """Return whether a restart of it is due, or of a group that it belongs to."""
        match self._children.flags.strategy:
            case Strategy.ONE_FOR_ONE:
                return child.spec.id in self._due
            case Strategy.ONE_FOR_ALL:
                return bool(self._due)
            case Strategy.REST_FOR_ONE:
                return any(child.spec.id in self._group(failed) for failed in self._due.values())

    @property
    def recent(self) -> int:
        """How many restarts count against the supervisor at the moment."""
        return self._budget.recent

    def _group(self, failed: AnyChild) -> Sequence[Hashable]:
        """Return the ids of those to restart; of all where the failed one is gone, whoever waited for it."""
        if not self._children.has(failed):
            return list(self._children.ids)
        return restart_group(self._children.flags.strategy, self._children.ids, failed.spec.id)

    # --- what a child's end leads to, decided at once

    def exited(self, child: AnyChild, reason: ExitReason, *, is_known: bool = False) -> float | None:
        """Decide what follows from an end of a child.

        Args:
            child: Which one.
            reason: How it ended.
            is_known: Whether that was reported already.

        Returns:
            After how many seconds to restart it; None if it is not restarted, or somebody else sees to it: it was
            stopped or replaced meanwhile, or a restart of its group is due.

        Raises:
            RestartIntensityExceeded: Too many restarts.
            SignificantEnd: The supervisor is to end too.
        """
        if not self._children.has(child) or child.running or not child.wanted:
            return None
        if self.is_restarting(child):
            child.left = reason
            self._left.add(child)
            if not is_known:
                self._tell(child, reason, "restarting it with its group", restarting=True)
            return None
        return self._decide(child, reason, is_known=is_known)

    def restart_failed(self, child: AnyChild, error: ChildStartError) -> float | None:
        """Decide what follows from a restart that failed; see `exited`."""
        if child.running or not child.wanted or not self._children.has(child):
            return 0.0  # it is not to be restarted any more, and the rest of its group need not wait for it
        delay = self._decide(child, ExitReason(ExitKind.CRASH, error))
        return 0.0 if delay is None else delay

    def _decide(self, child: AnyChild, reason: ExitReason, *, is_known: bool = False) -> float | None:
        if (wish := wish_to_exit(reason.error)) is not None:
            raise wish
        restarted = is_restarted(child.spec.restart, reason)
        delay = self._budget.admit(child, reason) if restarted else None
        if not is_known:
            self._tell(child, reason, self._next(child, delay, restarted=restarted), restarting=restarted)
        if delay is not None:
            child.ref.mailbox.discard()
            self._due[child.spec.id] = child
            return delay
        if restarted:
            raise self._budget.exceeded_by(child)
        self._children.retire(child)
        self._end_with(child)
        return None

    def _next(self, child: AnyChild, delay: float | None, *, restarted: bool) -> str:
        if not restarted:
            return "not restarting it"
        if delay is None:
            return "that is too often"
        return f"restarting it ({self._budget.used_by(child)} of {self._children.flags.max_restarts} restarts)"

    def _tell(self, child: AnyChild, reason: ExitReason, what_next: str, *, restarting: bool) -> None:
        """Tell listeners and the log of an end."""
        self._children.emit(ChildEnded(self._children.name, child.spec.id, child.ref.incarnation, reason, restarting))
        if reason.abnormal:
            messages, child.ref.mailbox.crashed_on = child.ref.mailbox.crashed_on, ()
            self._reports.ended(child.spec.id, child.ref.incarnation, reason, messages=messages, what_next=what_next)

    def _end_with(self, child: AnyChild) -> None:
        if not child.spec.significant:
            return
        rule = self._children.flags.auto_shutdown
        others = any(other.wanted for other in self._children if other.spec.significant)
        if rule is AutoShutdown.ANY_SIGNIFICANT or (rule is AutoShutdown.ALL_SIGNIFICANT and not others):
            raise SignificantEnd

    # --- what takes time

    async def restart(self, failed: AnyChild, give_up: "asyncio.Future[None]") -> RestartFailed | None:
        """Stop the failed child's group in reverse order and start it in order; temporary siblings are dropped.

        If the failed one is not to run any more, only those of its group are started that were stopped before.

        Returns:
            What failed, so that it can be tried again.
        """
        group = [self._children.find(id) for id in self._group(failed)]
        stuck: RestartFailed | None = None
        try:
            if failed.wanted and not failed.running and self._children.has(failed):
                await self._halt(group, failed)
            stuck = await self._start_halted(group, give_up)
        finally:
            self._due.pop(failed.spec.id, None)
            if stuck is not None:
                self._due[stuck.child.spec.id] = stuck.child
            self.look_after_the_left()
        return stuck

    async def _halt(self, group: Sequence[AnyChild], failed: AnyChild) -> None:
        dropped = {child for child in group if child is not failed and child.spec.restart is Restart.TEMPORARY}
        for child in group:
            child.halted = child not in dropped and not child.is_new
        for child in reversed(group):
            await child.stop()
            if child in dropped:
                self._children.retire(child)

    async def _start_halted(self, group: Sequence[AnyChild], give_up: "asyncio.Future[None]") -> RestartFailed | None:
        for child in group:
            if not (self._children.has(child) and child.halted):
                continue
            child.restarts += 1
            try:
                await self._children.start(child, give_up)
            except ChildStartError as error:
                if child.wanted:  # else it was terminated meanwhile, and the others go on without it
                    return RestartFailed(child, error)
        return None

    def look_after_the_left(self) -> None:
        """See to those whose end was left to a restart of their group that did not take place."""
        for child in list(self._left):
            if child.left is None:
                self._left.discard(child)
            elif not self.is_restarting(child):
                self._left.discard(child)
                reason, child.left = child.left, None
                self._children.child_exited(child, reason, is_known=True)
