"""The children of one supervisor: who they are, and what is done when one of them ends."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from eventree.actors.actor import StopActor
from eventree.actors.budget import RestartBudget
from eventree.actors.child import Child
from eventree.actors.events import AskAbandoned, ChildAbandoned, ChildEnded, ChildStarted, DeadLetter, SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, wish_to_exit
from eventree.actors.flags import Flags
from eventree.actors.orders import AnyChild, AnySpec, ChildExited, RestartFailed
from eventree.actors.policy import AutoShutdown, Restart, Strategy, is_restarted, restart_group
from eventree.actors.ref import ActorRef
from eventree.actors.reports import Reports
from eventree.actors.request import Request
from eventree.actors.spec import ChildSpec
from eventree.actors.status import Status
from eventree.errors import (
    ActorError,
    ChildAlreadyExists,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildStartError,
    InvalidArgument,
    TooManyChildren,
)


class SignificantEnd(StopActor):
    """The supervisor ends because its significant children have."""

    kind = ExitKind.SHUTDOWN


class Children:
    """Keep the children of a supervisor in start order; start, restart and stop them by its rules.

    Attributes:
        name: The name of the supervisor.
        flags: Its rules.
        kill_grace: How long a cancelled task may take to end before it is left behind, in seconds.
        address: The address of the supervisor, once it runs.
        emit: Called with all that happens.
        abandoned: How many tasks were left behind.
    """

    def __init__(
        self,
        name: str,
        flags: Flags,
        *,
        forget_ended: bool,
        clock: Callable[[], float],
        kill_grace: float,
        emit: Callable[[SupervisorEvent], None],
        specs: Iterable[AnySpec] = (),
    ) -> None:
        """Begin with children that are not started yet.

        Args:
            name: Names the supervisor in errors and logs.
            flags: Its rules.
            forget_ended: Whether the spec of a child that ended is dropped even if it is not temporary.
            clock: Returns the time in seconds.
            kill_grace: As the attribute.
            emit: As the attribute.
            specs: Who is there from the start on, in this order.
        """
        self.name = name
        self.flags = flags
        self.kill_grace = kill_grace
        self.address: ActorRef[Any, Any] | None = None
        self.abandoned = 0
        self._forget_ended = forget_ended
        self._clock = clock
        self.emit = emit
        self._budget = RestartBudget(name, flags, clock)
        self._reports = Reports(name)
        self._children: dict[Hashable, AnyChild] = {}
        self._described: dict[Hashable, AnySpec] = {}
        self._due: dict[Hashable, AnyChild] = {}  # whose end led to a restart that is not over
        for spec in specs:
            self.add(spec)
            self._described[spec.id] = spec

    def anew(self) -> "Children":
        """Return the children that a new start of the supervisor begins with: those described, not those added later.

        Nothing is left of what happened before (OTP's rule), but the references: whoever holds one reaches the new
        child.
        """
        children = Children(
            self.name,
            self.flags,
            forget_ended=self._forget_ended,
            clock=self._clock,
            kill_grace=self.kill_grace,
            emit=self.emit,
        )
        children.abandoned = self.abandoned
        children._described = self._described
        for spec in self._described.values():
            before = self._children.get(spec.id)
            children.add(spec, None if before is None else before.ref)
        return children

    def __iter__(self) -> Iterator[AnyChild]:
        """Iterate in start order."""
        return iter(self._children.values())

    def __contains__(self, id: Hashable) -> bool:
        """Return whether there is one with this id."""
        return id in self._children

    def __len__(self) -> int:
        """Return how many there are, stopped ones too."""
        return len(self._children)

    # --- who they are

    def add(self, spec: AnySpec, ref: ActorRef[Any, Any] | None = None) -> AnyChild:
        """Add a child at the end; it answers to the reference if one is given."""
        self._check(spec, self.flags)
        if spec.id in self._children:
            raise ChildAlreadyExists(spec.id)
        self._check_count(len(self) + 1, self.flags)
        child: AnyChild = Child(spec, self, ref)
        self._children[spec.id] = child
        return child

    def find(self, id: Hashable) -> AnyChild:
        """Return a child by its id."""
        try:
            return self._children[id]
        except (KeyError, TypeError):  # what cannot be hashed is no child's id
            raise ChildNotFound(id) from None

    def has(self, child: AnyChild) -> bool:
        """Return whether it is one of these."""
        return self._children.get(child.spec.id) is child

    def is_restarting(self, child: AnyChild) -> bool:
        """Return whether a restart of it is due, or of a group that it belongs to."""
        if self.flags.strategy is Strategy.ONE_FOR_ONE:
            return child.spec.id in self._due
        groups = (restart_group(self.flags.strategy, self._children, id) for id in self._due)
        return any(child.spec.id in group for group in groups)

    def find_ended(self, id: Hashable) -> AnyChild:
        """Return a child that neither runs nor is about to, or is just being terminated."""
        child = self.find(id)
        is_to_run = child.wanted and not child.running and self._is_up
        if is_to_run or child.starting or self.is_restarting(child):
            raise ChildRestarting(id)
        if child.running and child.wanted:
            raise ChildRunning(id)
        return child

    def delete(self, id: Hashable) -> None:
        """Forget a child that has ended."""
        child = self.find_ended(id)
        if child.running or child.stopping:
            raise ChildRunning(id)
        self.remove(child)

    @property
    def _is_up(self) -> bool:
        return self.address is not None and self.address.status is not Status.STOPPED

    def remove(self, child: AnyChild) -> None:
        """Forget a child."""
        child.close()
        if self.has(child):
            del self._children[child.spec.id]
            self._reports.forget(child.spec.id)

    def retire(self, child: AnyChild) -> None:
        """Leave a child stopped; a temporary one is forgotten."""
        child.wanted = child.halted = False
        child.left = None
        if self._forget_ended or child.spec.restart is Restart.TEMPORARY:
            self.remove(child)
        else:
            child.close()

    def change(self, flags: Flags, specs: Iterable[AnySpec]) -> None:
        """Take over new rules and specs, all or none; they count from the next start or restart on.

        Children whose id is new are added but not started; those without a new spec stay as they are (OTP's rule).
        """
        changed: dict[Hashable, AnySpec] = {}
        for spec in specs:
            self._check(spec, flags)
            if spec.id in changed:
                raise ChildAlreadyExists(spec.id)
            changed[spec.id] = spec
        for child in self:
            if child.spec.id not in changed:
                self._check(child.spec, flags)
        self._check_count(len(self) + sum(id not in self._children for id in changed), flags)
        self._budget.change(flags)
        self.flags = flags
        self._described |= changed
        for spec in changed.values():
            if spec.id in self._children:
                self._children[spec.id].spec = spec
            else:
                self.add(spec).wanted = False
        self._look_after_the_left()

    def _check_count(self, count: int, flags: Flags) -> None:
        if flags.max_children is not None and count > flags.max_children:
            raise TooManyChildren(self.name, flags.max_children)

    def _check(self, spec: AnySpec, flags: Flags) -> None:
        if not isinstance(spec, ChildSpec):
            raise InvalidArgument("children", f"must be ChildSpec objects, got {type(spec).__name__}")
        if spec.significant and flags.auto_shutdown is AutoShutdown.NEVER:
            raise InvalidArgument("significant", f"child {spec.id!r} cannot be, as auto_shutdown is NEVER")

    @property
    def recent_restarts(self) -> int:
        """How many restarts count against the supervisor at the moment."""
        return self._budget.recent

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
        if not self.has(child) or child.running or not child.wanted:
            return None
        if self.is_restarting(child):
            child.left = reason
            if not is_known:
                self._tell(child, reason, "restarting it with its group", restarting=True)
            return None
        return self._decide(child, reason, is_known=is_known)

    def restart_failed(self, child: AnyChild, error: ChildStartError) -> float | None:
        """Decide what follows from a restart that failed; see `exited`."""
        if child.running or not child.wanted or not self.has(child):
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
        self.retire(child)
        self._end_with(child)
        return None

    def _next(self, child: AnyChild, delay: float | None, *, restarted: bool) -> str:
        if not restarted:
            return "not restarting it"
        if delay is None:
            return "that is too often"
        return f"restarting it ({self._budget.used_by(child)} of {self.flags.max_restarts} restarts)"

    def _tell(self, child: AnyChild, reason: ExitReason, what_next: str, *, restarting: bool) -> None:
        """Tell listeners and the log of an end."""
        self.emit(ChildEnded(self.name, child.spec.id, child.ref.incarnation, reason, restarting))
        if reason.abnormal:
            messages, child.ref.mailbox.crashed_on = child.ref.mailbox.crashed_on, ()
            self._reports.ended(child.spec.id, child.ref.incarnation, reason, messages=messages, what_next=what_next)

    def _end_with(self, child: AnyChild) -> None:
        if not child.spec.significant:
            return
        rule = self.flags.auto_shutdown
        others = any(other.wanted for other in self if other.spec.significant)
        if rule is AutoShutdown.ANY_SIGNIFICANT or (rule is AutoShutdown.ALL_SIGNIFICANT and not others):
            raise SignificantEnd

    # --- what takes time

    async def start(self, child: AnyChild, give_up: "asyncio.Future[None]") -> None:
        """Start a child; raises `ChildStartError`."""
        child.wanted, child.halted, child.is_new, child.left = True, False, False, None
        child.start_failure = None
        try:
            await child.start(give_up)
        except ChildStartError as error:
            child.start_failure = error.__cause__
            if not child.wanted:
                self.retire(child)
            raise
        if child.running:
            child.is_supervisor = isinstance(getattr(child.actor, "children", None), Children)
            self._budget.started(child)
            self.emit(ChildStarted(self.name, child.spec.id, child.ref.incarnation))
        elif self.has(child):
            self.retire(child)  # it wanted to be ignored

    async def restart(self, failed: AnyChild, give_up: "asyncio.Future[None]") -> RestartFailed | None:
        """Stop the failed child's group in reverse order and start it in order; temporary siblings are dropped.

        If the failed one is not to run any more, only those of its group are started that were stopped before.

        Returns:
            What failed, so that it can be tried again.
        """
        is_there = self.has(failed)  # else it was terminated for good, and whoever waited for it is started
        ids = restart_group(self.flags.strategy, self._children, failed.spec.id) if is_there else list(self._children)
        group = [self._children[id] for id in ids]
        stuck: RestartFailed | None = None
        try:
            if is_there and failed.wanted and not failed.running:
                await self._halt(group, failed)
            stuck = await self._start_halted(group, give_up)
        finally:
            self._due.pop(failed.spec.id, None)
            if stuck is not None:
                self._due[stuck.child.spec.id] = stuck.child
            self._look_after_the_left()
        return stuck

    async def _halt(self, group: Sequence[AnyChild], failed: AnyChild) -> None:
        dropped = [child for child in group if child is not failed and child.spec.restart is Restart.TEMPORARY]
        for child in group:
            child.halted = child not in dropped and not child.is_new
        for child in reversed(group):
            await child.stop()
            if child in dropped:
                self.retire(child)

    async def _start_halted(self, group: Sequence[AnyChild], give_up: "asyncio.Future[None]") -> RestartFailed | None:
        for child in group:
            if not (self.has(child) and child.halted):
                continue
            child.restarts += 1
            try:
                await self.start(child, give_up)
            except ChildStartError as error:
                if child.wanted:  # else it was terminated meanwhile, and the others go on without it
                    return RestartFailed(child, error)
        return None

    def _look_after_the_left(self) -> None:
        """See to those whose end was left to a restart of their group that did not take place."""
        for child in list(self):
            reason = child.left
            if reason is not None and not self.is_restarting(child):
                child.left = None
                self.child_exited(child, reason, is_known=True)

    async def stop(self, child: AnyChild) -> None:
        """Stop a child for good, whatever it is about to do."""
        end = await child.stop()
        if self.has(child):
            self.retire(child)
        _raise_wish([end])

    async def stop_all(self, *, at_once: bool, drain_until: float | None) -> None:
        """Stop all, in reverse order or at the same time, and give their places up."""
        children = list(self)
        ends: list[ExitReason | None] = []
        if at_once:
            ends += await asyncio.gather(*(child.stop(drain_until=drain_until) for child in children))
        for child in reversed(children):
            ends.append(await child.stop(drain_until=drain_until))
            child.close()
        _raise_wish(ends)

    async def kill_all(self) -> None:
        """Cancel all at the same time."""
        await asyncio.gather(*(child.kill() for child in self))

    @property
    def kill_time(self) -> float:
        """How long they may take to end when they are cancelled, in seconds."""
        return self.kill_grace + max((child.actor.kill_time for child in self if child.actor is not None), default=0.0)

    # --- what its children tell it

    def child_exited(self, child: AnyChild, reason: ExitReason, *, is_known: bool = False) -> None:
        """See `Owner`; it comes as a message."""
        if self.address is not None:
            self.address.mailbox.put_control(Request(ChildExited(child, reason, is_known)))

    def child_abandoned(self, child: AnyChild) -> None:
        """See `Owner`."""
        self.abandoned += 1
        self.emit(ChildAbandoned(self.name, child.spec.id, child.ref.incarnation))

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """See `Owner`."""
        if why is not None:
            self._reports.dead_letters(actor, requests, why)
        for request in requests:
            message_type = type(request.message).__name__
            self.emit(
                AskAbandoned(self.name, actor, message_type)
                if why is None
                else DeadLetter(self.name, actor, message_type, str(why))
            )


def _raise_wish(ends: Iterable[ExitReason | None]) -> None:
    """Raise the wish to leave the program that a child ended with, while it was being stopped."""
    for end in ends:
        if end is not None and (wish := wish_to_exit(end.error)) is not None:
            raise wish
