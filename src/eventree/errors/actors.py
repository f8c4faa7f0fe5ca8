"""Errors of actors and supervisors."""

from collections.abc import Hashable, Sequence
from typing import Literal

from eventree.errors.root import EventreeError, error_text, type_name

Outcome = Literal["not_started", "unknown"]
"""What is known about a message that was not answered in time; see `ActorTimeout`."""


class ActorError(EventreeError):
    """An actor could not handle a message."""


_AFTER_TIMEOUT: dict[Outcome | None, str] = {
    None: "retry, or use a longer timeout",
    "not_started": "the message was not taken up, so nothing happened",
    "unknown": "it may still complete, so retry only with the same command_id",
}


class ActorTimeout(ActorError, TimeoutError):
    """An actor did not answer in time.

    Attributes:
        operation: The name of the operation.
        seconds: The timeout.
        outcome: `"not_started"`: the message was not taken up and will be skipped, so nothing happened. `"unknown"`: it
            was in progress and may still complete; a retry is safe with the same `command_id`. None: the operation
            only reads, so a retry is always safe.
        detail: What the operation was waiting for, such as a lock of another process; empty if that is not known.
    """

    def __init__(self, operation: str, seconds: float, outcome: Outcome | None = None, *, detail: str = "") -> None:
        waiting = f" ({detail})" if detail else ""
        super().__init__(f"{operation} timed out after {seconds:g} s{waiting}; {_AFTER_TIMEOUT[outcome]}")
        self.operation = operation
        self.seconds = seconds
        self.outcome = outcome
        self.detail = detail


class ActorStopped(ActorError):
    """The actor is not running and will not be restarted; the message was not taken up.

    Handling: start the actor, or the supervisor or `EventSourcing` that owns it.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(
            f"actor {actor!r} is not running in this process; start it, or the supervisor or EventSourcing "
            "that owns it, then try again"
        )
        self.actor = actor


class ActorCrashed(ActorError):
    """The actor crashed while handling this message; its supervisor restarts it.

    The message is not retried and may or may not have had its effect. `__cause__` is the exception that crashed the
    actor. Handling: a command with a `command_id` can safely be sent again.
    """

    def __init__(self, actor: Hashable, cause: BaseException | None) -> None:
        what = "was killed" if cause is None else f"crashed with {type(cause).__name__}"
        super().__init__(
            f"actor {actor!r} {what} while handling this message; "
            "send it again only if it is idempotent or has a command_id"
        )
        self.actor = actor
        self.__cause__ = cause


class MailboxFull(ActorError):
    """The actor's mailbox is full, or stayed full until the timeout; the message was not taken up.

    Handling: send more slowly, or use a longer timeout.
    """

    def __init__(self, actor: Hashable, size: int) -> None:
        super().__init__(f"the mailbox of actor {actor!r} is full with {size} messages; send more slowly")
        self.actor = actor
        self.size = size


class AskCycle(ActorError):
    """An actor asked an actor that already waits for it, directly or through others; nothing was sent.

    All of them would have waited until a timeout. Handling: `tell` instead, or ask from a separate task.

    Attributes:
        actors: The ids of the actors in the cycle, from the one that asked.
    """

    def __init__(self, actors: Sequence[Hashable]) -> None:
        super().__init__(f"{' waits for '.join(map(repr, actors))}, a cycle without an answer; use tell instead of ask")
        self.actors = tuple(actors)


class UnexpectedCancellation(ActorError):
    """An actor crashed because something it awaited was cancelled, although the actor itself was not.

    Handling: find what cancels it, or catch `CancelledError` around that await.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"actor {actor!r} awaited something that was cancelled; catch CancelledError at that await")
        self.actor = actor


class HandlerTimeout(ActorError):
    """An actor took longer than its `handler_timeout` to handle a message, and crashed.

    Handling: find out what its `receive` waits for, or raise the limit.
    """

    def __init__(self, actor: Hashable, seconds: float) -> None:
        super().__init__(f"actor {actor!r} exceeded its handler_timeout of {seconds:g} s; check what it awaits")
        self.actor = actor
        self.seconds = seconds


class StaleIncarnation(ActorError):
    """An actor kept running after it was replaced or stopped, and must have no more effects.

    Its task ignored its cancellation and was abandoned. Handling: do not swallow `CancelledError`.
    """

    def __init__(self, actor: Hashable, incarnation: int) -> None:
        super().__init__(f"incarnation {incarnation} of actor {actor!r} is stale; do not swallow CancelledError")
        self.actor = actor
        self.incarnation = incarnation


class SupervisorError(EventreeError):
    """A supervisor could not perform an operation."""


class ChildStartError(SupervisorError):
    """A child could not be started; children started before it in the same start were stopped again.

    Handling: fix the reason, which is the `__cause__`.
    """

    def __init__(self, child: Hashable, cause: BaseException | None) -> None:
        why = "was killed" if cause is None else error_text(cause)
        super().__init__(f"child {child!r} did not start: {why}")
        self.child = child
        self.__cause__ = cause


class ChildAlreadyExists(SupervisorError):
    """The supervisor already has a child with this id. Handling: use a unique id for every child.

    If that child is stopped, `restart_child` starts it again, and `delete_child` frees its id.
    """

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"child {child!r} already exists; use a unique id for every child")
        self.child = child


class AlreadyStarted(SupervisorError):
    """This supervisor, or an actor under this reference, is already running. Handling: create another one."""

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"{actor!r} is already running; create another supervisor or reference for a second one")
        self.actor = actor


class ChildRunning(SupervisorError):
    """The child is running, so it can be neither started nor deleted. Handling: `terminate_child` first."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"child {child!r} is running; call terminate_child() first")
        self.child = child


class ChildRestarting(SupervisorError):
    """The child is being started or restarted. Handling: wait until it runs, or `terminate_child` it."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"child {child!r} is being restarted; wait until it runs, or call terminate_child()")
        self.child = child


class TooManyChildren(SupervisorError):
    """The supervisor has `max_children` children. Handling: terminate some, or raise the limit."""

    def __init__(self, supervisor: str, max_children: int) -> None:
        super().__init__(f"supervisor {supervisor!r} has reached its max_children of {max_children}; terminate some")
        self.supervisor = supervisor
        self.max_children = max_children


class WouldDeadlock(EventreeError):
    """A caller would have waited for something that cannot finish before the caller does; nothing was done.

    An actor waited for the end of itself or an ancestor: raise `StopActor` to stop it, or stop it from outside that
    subtree. A projection waited for a command or a query: its own transaction holds the lock they need. Read and write
    on its connection only, and send commands from a `Query`.

    Attributes:
        caller: The id of the caller.
        awaited: The id or the name of the actor, query or operation that it would have waited for.
    """

    def __init__(self, caller: Hashable, awaited: Hashable, remedy: str) -> None:
        super().__init__(f"{caller!r} cannot wait for {awaited!r}, which cannot finish first; {remedy}")
        self.caller = caller
        self.awaited = awaited


class ChildNotFound(SupervisorError):
    """The supervisor has no child with this id."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"there is no child {child!r}; which_children() lists all children")
        self.child = child


class RestartIntensityExceeded(SupervisorError):
    """Children crashed more often than the restart intensity allows, so the supervisor stopped them and gave up.

    Handling: fix the bugs behind the crashes; see `crashes` and `__cause__`.

    Attributes:
        supervisor: Its name.
        max_restarts: How many restarts are allowed within `max_seconds`.
        max_seconds: The length of the window, in seconds.
        crashes: The errors behind the restarts, oldest first.
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
            f"fix the crashes of its children (last: {last})"
        )
        self.__cause__ = self.crashes[-1] if self.crashes else None
