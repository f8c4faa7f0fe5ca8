"""The children of one supervisor: a registry that also starts and stops them."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any

from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import AskAbandoned, ChildAbandoned, ChildStarted, DeadLetter, SupervisorEvent
from eventree.actors.exits import ExitReason, exit_request
from eventree.actors.status import Status
from eventree.actors.supervision.child import Child
from eventree.actors.supervision.crash_log import CrashLog
from eventree.actors.supervision.messages import AnyChild, AnySpec, ChildExited
from eventree.actors.supervision.options import AutoShutdown, Restart, SupervisorOptions
from eventree.actors.supervision.restarts import Restarts
from eventree.actors.supervision.spec import ChildSpec
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


class Children:
    """Hold the children of a supervisor in start order; start and stop them by its options.

    Attributes:
        name: The supervisor's name.
        options: The supervisor's options.
        kill_grace: Seconds a cancelled task may take to end before it is abandoned.
        address: The supervisor's reference; None before it was started.
        emit: Receives every event.
        abandoned: The number of abandoned tasks.
        restarts: Decides about and performs restarts.
    """

    def __init__(
        self,
        name: str,
        options: SupervisorOptions,
        *,
        forget_stopped: bool,
        clock: Callable[[], float],
        kill_grace: float,
        emit: Callable[[SupervisorEvent], None],
        specs: Iterable[AnySpec] = (),
    ) -> None:
        """Create the children; none is started yet.

        Args:
            name: The supervisor's name, for errors and logs.
            options: The supervisor's options.
            forget_stopped: Whether a child that has exited or was terminated is removed even if it is not temporary.
            clock: Returns a monotonic time in seconds.
            kill_grace: As the attribute.
            emit: As the attribute.
            specs: The initial children in start order.
        """
        self.name = name
        self.options = options
        self.kill_grace = kill_grace
        self.address: ActorRef[Any, Any] | None = None
        self.abandoned = 0
        self._forget_stopped = forget_stopped
        self._clock = clock
        self.emit = emit
        self._crash_log = CrashLog(name)
        self.restarts = Restarts(self, self._crash_log, clock)
        self._children: dict[Hashable, AnyChild] = {}
        self._initial_specs: dict[Hashable, AnySpec] = {}
        for spec in specs:
            self.add(spec)
            self._initial_specs[spec.id] = spec

    def for_restart(self) -> "Children":
        """Return the children for a restart of the supervisor: the initial ones, not those added later (OTP's rule).

        Only the references of the earlier run are kept, so that they stay valid for their users.
        """
        children = Children(
            self.name,
            self.options,
            forget_stopped=self._forget_stopped,
            clock=self._clock,
            kill_grace=self.kill_grace,
            emit=self.emit,
        )
        children.abandoned = self.abandoned
        children._initial_specs = self._initial_specs
        for spec in self._initial_specs.values():
            previous = self._children.get(spec.id)
            children.add(spec, None if previous is None else previous.ref)
        return children

    def __iter__(self) -> Iterator[AnyChild]:
        """Iterate in start order."""
        return iter(self._children.values())

    @property
    def ids(self) -> Collection[Hashable]:
        """The ids of all children, in start order."""
        return self._children.keys()

    def __contains__(self, id: Hashable) -> bool:
        """Return whether there is a child with this id."""
        return id in self._children

    def __len__(self) -> int:
        """Return the number of children, stopped ones included."""
        return len(self._children)

    # --- registry

    def add(self, spec: AnySpec, ref: ActorRef[Any, Any] | None = None) -> AnyChild:
        """Add a child at the end, with the given reference if there is one."""
        self._check(spec, self.options)
        if spec.id in self._children:
            raise ChildAlreadyExists(spec.id)
        self._check_count(len(self) + 1, self.options)
        child: AnyChild = Child(spec, self, ref)
        self._children[spec.id] = child
        return child

    def find(self, id: Hashable) -> AnyChild:
        """Return the child with this id."""
        try:
            return self._children[id]
        except (KeyError, TypeError):  # an id that cannot be hashed belongs to no child
            raise ChildNotFound(id) from None

    def has(self, child: AnyChild) -> bool:
        """Return whether this child has not been removed."""
        return self._children.get(child.spec.id) is child

    def find_stopped(self, id: Hashable) -> AnyChild:
        """Return a child that neither runs nor is about to run, or is being terminated."""
        child = self.find(id)
        is_about_to_run = child.should_run and not child.running and self._is_up
        if is_about_to_run or child.starting or self.restarts.is_restarting(child):
            raise ChildRestarting(id)
        if child.running and child.should_run:
            raise ChildRunning(id)
        return child

    def delete(self, id: Hashable) -> None:
        """Remove a stopped child."""
        child = self.find_stopped(id)
        if child.running or child.stopping:
            raise ChildRunning(id)
        self.remove(child)

    @property
    def _is_up(self) -> bool:
        return self.address is not None and self.address.status is not Status.STOPPED

    def remove(self, child: AnyChild) -> None:
        """Remove a child."""
        child.close()
        if self.has(child):
            del self._children[child.spec.id]
            self._crash_log.forget(child.spec.id)

    def retire(self, child: AnyChild) -> None:
        """Leave a child stopped; remove it if it is temporary."""
        child.mark_retired()
        if self._forget_stopped or child.spec.restart is Restart.TEMPORARY:
            self.remove(child)
        else:
            child.close()

    def reconfigure(self, options: SupervisorOptions, specs: Iterable[AnySpec]) -> None:
        """Apply new options and specs, all or none; a spec takes effect at the child's next start.

        Children with a new id are added but not started; children without a new spec stay as they are (OTP's rule).
        """
        changed: dict[Hashable, AnySpec] = {}
        for spec in specs:
            self._check(spec, options)
            if spec.id in changed:
                raise ChildAlreadyExists(spec.id)
            changed[spec.id] = spec
        for child in self:
            if child.spec.id not in changed:
                self._check(child.spec, options)
        self._check_count(len(self) + sum(id not in self._children for id in changed), options)
        self.options = options
        self._initial_specs |= changed
        for spec in changed.values():
            if spec.id in self._children:
                self._children[spec.id].replace_spec(spec)
            else:
                self.add(spec).mark_not_started()
        self.restarts.reconfigure(options)

    def _check_count(self, count: int, options: SupervisorOptions) -> None:
        if options.max_children is not None and count > options.max_children:
            raise TooManyChildren(self.name, options.max_children)

    def _check(self, spec: AnySpec, options: SupervisorOptions) -> None:
        if not isinstance(spec, ChildSpec):
            raise InvalidArgument("children", f"must be ChildSpec objects, got {type(spec).__name__}")
        if spec.significant and options.auto_shutdown is AutoShutdown.NEVER:
            reason = f"child {spec.id!r} cannot be significant while auto_shutdown is NEVER"
            raise InvalidArgument("significant", reason)

    # --- starting and stopping

    async def start(self, child: AnyChild, stop_requested: "asyncio.Future[None]") -> None:
        """Start a child; raise `ChildStartError` if it does not start."""
        try:
            await child.start(stop_requested)
        except ChildStartError:
            if not child.should_run:
                self.retire(child)
            raise
        if child.running:
            self.restarts.started(child)
            self.emit(ChildStarted(self.name, child.spec.id, child.ref.incarnation))
        elif self.has(child):
            self.retire(child)  # its `init` raised `Ignore`

    async def stop(self, child: AnyChild) -> None:
        """Stop a child for good."""
        reason = await child.stop()
        if self.has(child):
            self.retire(child)
        _raise_exit_request([reason])

    async def stop_all(self, *, concurrently: bool, drain_until: float | None) -> None:
        """Stop all children, in reverse order or concurrently, and close them."""
        children = list(self)
        reasons: list[ExitReason | None] = []
        if concurrently:
            reasons += await asyncio.gather(*(child.stop(drain_until=drain_until) for child in children))
        for child in reversed(children):
            reasons.append(await child.stop(drain_until=drain_until))
            child.close()
        _raise_exit_request(reasons)

    async def kill_all(self) -> None:
        """Cancel all children concurrently."""
        await asyncio.gather(*(child.kill() for child in self))

    @property
    def kill_time(self) -> float:
        """The longest time, in seconds, that they may take to end once they are cancelled."""
        return self.kill_grace + max((child.actor.kill_time for child in self if child.actor is not None), default=0.0)

    # --- as the owner of its children

    def child_exited(self, child: AnyChild, reason: ExitReason, *, is_reported: bool = False) -> None:
        """Report the exit to the supervisor by a control message; see `Owner`."""
        if self.address is not None:
            self.address.mailbox.put_control(Request(ChildExited(child, reason, is_reported)))

    def child_abandoned(self, child: AnyChild) -> None:
        """Count and emit it; see `Owner`."""
        self.abandoned += 1
        self.emit(ChildAbandoned(self.name, child.spec.id, child.ref.incarnation))

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """Log and emit them; see `Owner`."""
        if why is not None:
            self._crash_log.dead_letters(actor, requests, why)
        for request in requests:
            message_type = type(request.message).__name__
            self.emit(
                AskAbandoned(self.name, actor, message_type)
                if why is None
                else DeadLetter(self.name, actor, message_type, str(why))
            )


def _raise_exit_request(reasons: Iterable[ExitReason | None]) -> None:
    """Re-raise the SystemExit or KeyboardInterrupt with which a child exited while it was being stopped."""
    for reason in reasons:
        if reason is not None and (request := exit_request(reason.error)) is not None:
            raise request
