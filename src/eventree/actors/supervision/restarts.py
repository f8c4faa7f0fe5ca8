"""React to the exits of children: decide which are restarted, when and with which siblings, and restart them."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import Protocol

from eventree.actors.actor.actor import StopActor
from eventree.actors.events import ChildEnded, SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, exit_request
from eventree.actors.supervision.crash_log import CrashLog
from eventree.actors.supervision.intensity import RestartIntensity
from eventree.actors.supervision.messages import AnyChild, RestartFailed
from eventree.actors.supervision.options import (
    AutoShutdown,
    Restart,
    Strategy,
    SupervisorOptions,
    is_restarted,
    restart_group,
)
from eventree.errors import ChildStartError


class AutoShutdownTriggered(StopActor):
    """The supervisor shuts down because its significant children have exited."""

    kind = ExitKind.SHUTDOWN


class Siblings(Protocol):
    """Declare the methods of `Children` that restarts need."""

    name: str
    options: SupervisorOptions
    emit: Callable[[SupervisorEvent], None]

    def __iter__(self) -> Iterator[AnyChild]:
        """Iterate in start order."""
        ...

    @property
    def ids(self) -> Collection[Hashable]:
        """The ids of all children, in start order."""
        ...

    def find(self, id: Hashable) -> AnyChild:
        """Return the child with this id."""
        ...

    def has(self, child: AnyChild) -> bool:
        """Return whether this child has not been removed."""
        ...

    def retire(self, child: AnyChild) -> None:
        """Leave a child stopped; remove it if it is temporary."""
        ...

    async def start(self, child: AnyChild, stop_requested: "asyncio.Future[None]") -> None:
        """Start a child; raise `ChildStartError` if it does not start."""
        ...

    def child_exited(self, child: AnyChild, reason: ExitReason, *, is_reported: bool = False) -> None:
        """Report an exit to the supervisor."""
        ...


class Restarts:
    """Decide on each exit immediately; restart the group later, when its turn comes."""

    def __init__(self, children: Siblings, crash_log: CrashLog, clock: Callable[[], float]) -> None:
        """Begin with no restart pending or counted.

        Args:
            children: The children of the supervisor.
            crash_log: Logs abnormal exits.
            clock: Returns a monotonic time in seconds.
        """
        self._children = children
        self._crash_log = crash_log
        self._intensity = RestartIntensity(children.name, children.options, clock)
        self._pending: dict[Hashable, AnyChild] = {}  # children whose exit led to a restart that has not finished
        self._deferred: set[AnyChild] = set()  # children that exited while a restart of their group was pending

    def reconfigure(self, options: SupervisorOptions) -> None:
        """Apply new options, after `Children` has taken them over."""
        self._intensity.reconfigure(options)
        self.handle_deferred_exits()

    def started(self, child: AnyChild) -> None:
        """Record that a child has started."""
        self._intensity.started(child)

    def is_restarting(self, child: AnyChild) -> bool:
        """Return whether a restart of this child is pending, alone or with its group."""
        match self._children.options.strategy:
            case Strategy.ONE_FOR_ONE:
                return child.spec.id in self._pending
            case Strategy.ONE_FOR_ALL:
                return bool(self._pending)
            case Strategy.REST_FOR_ONE:
                return any(child.spec.id in self._group(failed) for failed in self._pending.values())

    @property
    def recent(self) -> int:
        """The number of restarts that count against the intensity now."""
        return self._intensity.recent

    def _group(self, failed: AnyChild) -> Sequence[Hashable]:
        """Return the ids to restart: all if the failed child was removed, as any may be waiting for that restart."""
        if not self._children.has(failed):
            return list(self._children.ids)
        return restart_group(self._children.options.strategy, self._children.ids, failed.spec.id)

    # --- decisions

    def on_exit(self, child: AnyChild, reason: ExitReason, *, is_reported: bool = False) -> float | None:
        """Decide how to react to the exit of a child.

        Args:
            child: The child that exited.
            reason: Why it exited.
            is_reported: Whether the exit was already logged and emitted.

        Returns:
            The delay before its restart in seconds. None if no restart has to be scheduled: the child is not restarted,
            it was stopped or started again meanwhile, or a restart of its group is pending anyway.

        Raises:
            RestartIntensityExceeded: One more restart would exceed the intensity.
            AutoShutdownTriggered: The supervisor has to shut down too.
        """
        if not self._children.has(child) or child.running or not child.should_run:
            return None
        if self.is_restarting(child):
            child.defer_exit(reason)
            self._deferred.add(child)
            if not is_reported:
                self._report(child, reason, "restarting it with its group", restarting=True)
            return None
        return self._decide(child, reason, is_reported=is_reported)

    def on_failed_restart(self, child: AnyChild, error: ChildStartError) -> float | None:
        """Decide how to react to a restart that failed; see `on_exit`."""
        if child.running or not child.should_run or not self._children.has(child):
            return 0.0  # the child need not be restarted any more, but the rest of its group must be
        delay = self._decide(child, ExitReason(ExitKind.CRASH, error))
        return 0.0 if delay is None else delay

    def _decide(self, child: AnyChild, reason: ExitReason, *, is_reported: bool = False) -> float | None:
        if (request := exit_request(reason.error)) is not None:
            raise request
        restarted = is_restarted(child.spec.restart, reason)
        delay = self._intensity.admit(child, reason) if restarted else None
        if not is_reported:
            self._report(child, reason, self._next_step(child, delay, restarted=restarted), restarting=restarted)
        if delay is not None:
            child.ref.mailbox.discard()
            self._pending[child.spec.id] = child
            return delay
        if restarted:
            raise self._intensity.exceeded_by(child)
        self._children.retire(child)
        self._check_auto_shutdown(child)
        return None

    def _next_step(self, child: AnyChild, delay: float | None, *, restarted: bool) -> str:
        if not restarted:
            return "not restarting it"
        if delay is None:
            return "restart intensity exceeded"
        return f"restarting it ({self._intensity.count_for(child)} of {self._children.options.max_restarts} restarts)"

    def _report(self, child: AnyChild, reason: ExitReason, what_next: str, *, restarting: bool) -> None:
        """Emit an exit, and log it if it was abnormal."""
        incarnation = child.ref.incarnation
        self._children.emit(ChildEnded(self._children.name, child.spec.id, incarnation, reason, restarting))
        if reason.abnormal:
            messages = child.ref.mailbox.take_crashed_on()
            self._crash_log.child_exited(child.spec.id, incarnation, reason, messages=messages, what_next=what_next)

    def _check_auto_shutdown(self, child: AnyChild) -> None:
        if not child.spec.significant:
            return
        rule = self._children.options.auto_shutdown
        others = any(other.should_run for other in self._children if other.spec.significant)
        if rule is AutoShutdown.ANY_SIGNIFICANT or (rule is AutoShutdown.ALL_SIGNIFICANT and not others):
            raise AutoShutdownTriggered

    # --- the restart itself

    async def restart(self, failed: AnyChild, stop_requested: "asyncio.Future[None]") -> RestartFailed | None:
        """Stop the failed child's group in reverse order and start it in order; temporary siblings are removed.

        If the failed child should no longer run, only start the siblings that were stopped with it earlier.

        Returns:
            The start that failed and has to be retried; None if all succeeded.
        """
        group = [self._children.find(id) for id in self._group(failed)]
        failure: RestartFailed | None = None
        try:
            if failed.should_run and not failed.running and self._children.has(failed):
                await self._stop_group(group, failed)
            failure = await self._start_group(group, stop_requested)
        finally:
            self._pending.pop(failed.spec.id, None)
            if failure is not None:
                self._pending[failure.child.spec.id] = failure.child
            self.handle_deferred_exits()
        return failure

    async def _stop_group(self, group: Sequence[AnyChild], failed: AnyChild) -> None:
        removed = {child for child in group if child is not failed and child.spec.restart is Restart.TEMPORARY}
        for child in group:
            child.mark_stopped_with_group(starts_again=child not in removed)
        for child in reversed(group):
            await child.stop()
            if child in removed:
                self._children.retire(child)

    async def _start_group(
        self, group: Sequence[AnyChild], stop_requested: "asyncio.Future[None]"
    ) -> RestartFailed | None:
        for child in group:
            if not (self._children.has(child) and child.stopped_with_group):
                continue
            child.count_restart()
            try:
                await self._children.start(child, stop_requested)
            except ChildStartError as error:
                if child.should_run:  # otherwise it was terminated meanwhile, and the others start without it
                    return RestartFailed(child, error)
        return None

    def handle_deferred_exits(self) -> None:
        """Report deferred exits to the supervisor again, if the group restart has ended without starting the child."""
        for child in list(self._deferred):
            if not child.has_deferred_exit:
                self._deferred.discard(child)
            elif not self.is_restarting(child):
                self._deferred.discard(child)
                reason = child.take_deferred_exit()
                if reason is not None:
                    self._children.child_exited(child, reason, is_reported=True)
