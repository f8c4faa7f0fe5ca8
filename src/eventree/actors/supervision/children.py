"""The children of one supervisor: who they are, and how they start and stop."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any

from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import AskAbandoned, ChildAbandoned, ChildStarted, DeadLetter, SupervisorEvent
from eventree.actors.exits import ExitReason, wish_to_exit
from eventree.actors.status import Status
from eventree.actors.supervision.child import Child
from eventree.actors.supervision.crash_log import Reports
from eventree.actors.supervision.messages import AnyChild, AnySpec, ChildExited
from eventree.actors.supervision.options import AutoShutdown, Flags, Restart
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
    """Keep the children of a supervisor in start order; start and stop them by its rules.

    Attributes:
        name: The name of the supervisor.
        flags: Its rules.
        kill_grace: How long a cancelled task may take to end before it is left behind, in seconds.
        address: The address of the supervisor, once it runs.
        emit: Called with all that happens.
        abandoned: How many tasks were left behind.
        restarts: What is done about those that ended.
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
        self._reports = Reports(name)
        self.restarts = Restarts(self, self._reports, clock)
        self._children: dict[Hashable, AnyChild] = {}
        self._described: dict[Hashable, AnySpec] = {}
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

    @property
    def ids(self) -> Collection[Hashable]:
        """The ids of all, in start order."""
        return self._children.keys()

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

    def find_ended(self, id: Hashable) -> AnyChild:
        """Return a child that neither runs nor is about to, or is just being terminated."""
        child = self.find(id)
        is_to_run = child.wanted and not child.running and self._is_up
        if is_to_run or child.starting or self.restarts.is_restarting(child):
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
        self.flags = flags
        self._described |= changed
        for spec in changed.values():
            if spec.id in self._children:
                self._children[spec.id].spec = spec
            else:
                self.add(spec).wanted = False
        self.restarts.change(flags)

    def _check_count(self, count: int, flags: Flags) -> None:
        if flags.max_children is not None and count > flags.max_children:
            raise TooManyChildren(self.name, flags.max_children)

    def _check(self, spec: AnySpec, flags: Flags) -> None:
        if not isinstance(spec, ChildSpec):
            raise InvalidArgument("children", f"must be ChildSpec objects, got {type(spec).__name__}")
        if spec.significant and flags.auto_shutdown is AutoShutdown.NEVER:
            raise InvalidArgument("significant", f"child {spec.id!r} cannot be, as auto_shutdown is NEVER")

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
            self.restarts.started(child)
            self.emit(ChildStarted(self.name, child.spec.id, child.ref.incarnation))
        elif self.has(child):
            self.retire(child)  # it wanted to be ignored

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
