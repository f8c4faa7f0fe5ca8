"""Errors of actors and supervisors."""

from collections.abc import Hashable, Sequence
from typing import Literal

from eventree.errors.root import EventreeError, error_text, type_name

Outcome = Literal["not_started", "unknown"]


class ActorError(EventreeError):
    """A message could not be handled by its actor."""


_AFTER_TIMEOUT: dict[Outcome | None, str] = {
    None: "ask again, or wait longer",
    "not_started": "it was never taken up and nothing happened",
    "unknown": "it may still complete, so send it again only with the same command_id",
}


class ActorTimeout(ActorError, TimeoutError):
    """No answer came in time.

    Attributes:
        operation: What was asked.
        seconds: How long the caller was willing to wait.
        outcome: `"not_started"`: the message was never taken up and is skipped, so nothing happened. `"unknown"`: it
            was in work and may still complete; sending it again is safe with the same `command_id`. None: it only
            reads, so asking again is always safe.
    """

    def __init__(self, operation: str, seconds: float, outcome: Outcome | None = None) -> None:
        super().__init__(f"{operation} had no answer after {seconds:g} s; {_AFTER_TIMEOUT[outcome]}")
        self.operation = operation
        self.seconds = seconds
        self.outcome = outcome


class ActorStopped(ActorError):
    """The actor is not running and will not come back by itself; the message was not taken up.

    Handling: start the actor, or the supervisor or `EventSourcing` that owns it.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"actor {actor!r} is not running; start it, or what owns it, and send the message again")
        self.actor = actor


class ActorCrashed(ActorError):
    """The actor crashed while it worked on this message; its supervisor restarts it.

    The message is not tried again and may or may not have had its effect. `__cause__` has what crashed the actor.
    Handling: a command with a `command_id` can safely be sent again.
    """

    def __init__(self, actor: Hashable, cause: BaseException | None) -> None:
        what = "was killed" if cause is None else f"crashed with {type(cause).__name__}"
        super().__init__(
            f"actor {actor!r} {what} while it worked on this message; "
            "send it again only if doing it twice is harmless or it has a command_id"
        )
        self.actor = actor
        self.__cause__ = cause


class MailboxFull(ActorError):
    """There was no room in the actor's mailbox (in time); the message was not taken up.

    Handling: slow down, or wait longer for room.
    """

    def __init__(self, actor: Hashable, size: int) -> None:
        super().__init__(f"the mailbox of actor {actor!r} holds {size} messages and is full; send more slowly")
        self.actor = actor
        self.size = size


class AskCycle(ActorError):
    """An actor asked one that waits for its own answer, directly or through others; nothing was sent.

    Both would have waited until one of them lost its patience. Handling: `tell` instead, or ask from a task beside.

    Attributes:
        actors: Who waits for whom, from the one that asked.
    """

    def __init__(self, actors: Sequence[Hashable]) -> None:
        super().__init__(f"{' waits for '.join(map(repr, actors))}: nobody would ever answer; tell instead of asking")
        self.actors = tuple(actors)


class UnexpectedCancellation(ActorError):
    """An actor awaited something that was cancelled, though nobody wanted the actor to stop; it crashed.

    Handling: find out who cancels what it awaits, or catch `CancelledError` around just that.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"actor {actor!r} awaited something that somebody cancelled; catch that where it is awaited")
        self.actor = actor


class HandlerTimeout(ActorError):
    """An actor worked longer on a message than its `handler_timeout` allows, and crashed.

    Handling: find out what its `receive` waits for, or allow it more.
    """

    def __init__(self, actor: Hashable, seconds: float) -> None:
        super().__init__(
            f"actor {actor!r} was not done within its handler_timeout of {seconds:g} s; see what it awaits"
        )
        self.actor = actor
        self.seconds = seconds


class StaleIncarnation(ActorError):
    """An actor went on although it was replaced or stopped, and must have no effect any more.

    Its task did not end when it was cancelled and was left behind. Handling: do not swallow `CancelledError`.
    """

    def __init__(self, actor: Hashable, incarnation: int) -> None:
        super().__init__(f"incarnation {incarnation} of actor {actor!r} is over; let its CancelledError pass next time")
        self.actor = actor
        self.incarnation = incarnation


class SupervisorError(EventreeError):
    """A supervisor could not do what was asked."""


class ChildStartError(SupervisorError):
    """A child could not be started; the children started before it were stopped again. `__cause__` says why."""

    def __init__(self, child: Hashable, cause: BaseException | None) -> None:
        why = "was killed" if cause is None else error_text(cause)
        super().__init__(f"child {child!r} did not start: {why}")
        self.child = child
        self.__cause__ = cause


class ChildAlreadyExists(SupervisorError):
    """The supervisor has a child with this id already. Handling: give every child an id of its own.

    If that child is stopped, `restart_child` starts it again, and `delete_child` makes room for another.
    """

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"there is a child {child!r} already; give every child an id of its own")
        self.child = child


class AlreadyStarted(SupervisorError):
    """Something runs already under this reference, or this very supervisor does. Handling: make another one."""

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"{actor!r} runs already; make another supervisor or reference for a second one")
        self.actor = actor


class ChildRunning(SupervisorError):
    """The child runs, so it can neither be started nor deleted. Handling: `terminate_child` first."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"child {child!r} is running; terminate_child() it first")
        self.child = child


class ChildRestarting(SupervisorError):
    """The child is just being started or restarted. Handling: wait until it runs, or `terminate_child` it."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"child {child!r} is being restarted; wait until it runs, or terminate_child() it")
        self.child = child


class TooManyChildren(SupervisorError):
    """The supervisor has as many children as it may have. Handling: terminate some, or allow it more."""

    def __init__(self, supervisor: str, max_children: int) -> None:
        super().__init__(f"supervisor {supervisor!r} has {max_children} children, its max_children; terminate some")
        self.supervisor = supervisor
        self.max_children = max_children


class WouldDeadlock(EventreeError):
    """Somebody wanted to wait for what cannot end before it goes on itself; nothing was done.

    An actor that waits for the end of what it is part of: raise `StopActor` to end oneself, or let somebody outside of
    that subtree stop it. A projection that waits for a command, or for a query: its own transaction holds what they
    need; read and write on its connection only, and send commands from a `Query`.

    Attributes:
        caller: Who wanted to wait.
        awaited: What it wanted to wait for.
    """

    def __init__(self, caller: Hashable, awaited: Hashable, remedy: str) -> None:
        super().__init__(f"{caller!r} cannot wait for {awaited!r}, which cannot end before it; {remedy}")
        self.caller = caller
        self.awaited = awaited


class ChildNotFound(SupervisorError):
    """The supervisor has no child with this id."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"there is no child {child!r}; which_children() lists them all")
        self.child = child


class RestartIntensityExceeded(SupervisorError):
    """Children crashed more often than the supervisor allows, so it stopped them all and gave up.

    Handling: the crashes are bugs; `crashes` and `__cause__` have them.

    Attributes:
        supervisor: Its name.
        max_restarts: How many restarts are allowed within `max_seconds`.
        max_seconds: The length of the window, in seconds.
        crashes: The errors that led here, oldest first.
    """

    def __init__(
        self, supervisor: str, max_restarts: int, max_seconds: float, crashes: Sequence[BaseException]
    ) -> None:
        self.supervisor = supervisor
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.crashes = tuple(crashes)
        last = type_name(self.crashes[-1] if self.crashes else None)
        super().__init__(
            f"supervisor {supervisor!r} gave up: more than {max_restarts} restarts in {max_seconds:g} s; "
            f"fix what crashes its children (last: {last})"
        )
        self.__cause__ = self.crashes[-1] if self.crashes else None
