"""The base class of actors, and the context that is passed to an actor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, sole_error
from eventree.errors import StaleIncarnation
from eventree.values import subscriptable

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class StopActor(Exception):
    """Raise it in `receive` to stop the actor normally; the current message is answered with `ActorStopped`."""

    kind = ExitKind.NORMAL


class Ignore(Exception):
    """Raise it in `init` to not run after all: the start succeeds, but no actor runs (OTP's `ignore`)."""


class Reject(Exception):
    """Raise it in `receive` to refuse the message: the sender gets this exception, and the actor keeps running."""


@subscriptable
@dataclass(frozen=True, slots=True)
class ActorContext(Generic[MessageT_contra, ReplyT_co]):
    """Describe the running incarnation of an actor to itself.

    Attributes:
        ref: Its own reference.
        incarnation: The number of this start, from 1.
        handler_timeout: Seconds it may take to handle a message; default None, no limit.
        emit: For the runtime: receives the events of the tree below a supervisor.
    """

    ref: ActorRef[MessageT_contra, ReplyT_co]
    incarnation: int
    handler_timeout: float | None = None
    emit: Callable[[SupervisorEvent], None] = field(default=lambda _: None, repr=False)

    @property
    def is_current(self) -> bool:
        """Whether this incarnation is the live one: it was neither replaced nor abandoned."""
        return self.incarnation == self.ref.incarnation and self.ref.task is not None

    def check_current(self) -> None:
        """Raise if this incarnation is not the live one; call it before a side effect that must not happen twice.

        Raises:
            StaleIncarnation: It was abandoned because it ignored its cancellation.
        """
        if not self.is_current:
            raise StaleIncarnation(self.ref.id, self.incarnation)


class Actor(Generic[MessageT_contra, ReplyT_co]):
    """Handle messages one at a time, in its own task, under a supervisor.

    Subclass it and override `receive`. State lives in the instance; a restart creates a new instance, so that no state
    survives a crash. An actor that handles messages in batches sets `max_batch` and overrides `receive_batch`.
    """

    default_shutdown: float = 5.0
    """Seconds it may take to stop unless its `ChildSpec` says otherwise (OTP's default for a worker)."""

    max_batch: int = 1
    """The maximum number of requests passed to `receive_batch`."""

    reusable: ClassVar[bool] = False
    """Whether the same instance may be started again, because its `init` resets all state."""

    is_supervisor: ClassVar[bool] = False
    """For the runtime: whether it supervises other actors."""

    async def init(self, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> None:
        """Prepare to receive; runs in the actor's task before the first message.

        The actor counts as started once this returns, and its supervisor waits for that. If it raises, the start fails.
        """

    async def receive(self, message: MessageT_contra, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> ReplyT_co:
        """Handle one message and return the answer for its sender.

        An exception crashes the actor: the sender gets `ActorCrashed` and the supervisor decides about a restart.
        `Reject` and `StopActor` do not crash it.
        """
        raise NotImplementedError(f"{type(self).__name__} must override receive or receive_batch")

    async def receive_batch(
        self, requests: Sequence[Request[MessageT_contra, ReplyT_co]], ctx: ActorContext[MessageT_contra, ReplyT_co]
    ) -> None:
        """Handle queued requests, at most `max_batch`, and answer each with its `reply` or `fail`.

        A request may also be kept and answered later. After a crash the runtime answers the unanswered ones. The
        message context of the sender is available inside `with request.propagate()`.
        """
        for request in requests:
            try:
                if request.carried is None:
                    request.reply(await self.receive(request.message, ctx))
                else:
                    with request.propagate():
                        request.reply(await self.receive(request.message, ctx))
            except (Reject, BaseExceptionGroup) as error:
                reject_or_raise(request, error)

    async def on_stop(self, reason: ExitReason) -> None:
        """Clean up after the last message; runs in the actor's task, within its `shutdown` time.

        It also runs after a crash, with the same limit, but not when the task was cancelled. If it raises, that is a
        crash, and `on_kill` runs too.
        """

    async def on_kill(self) -> None:
        """Release resources that must not outlive the actor; runs in its task after a cancellation or failed `on_stop`.

        It may take the `kill_grace` of the supervisor; a further cancellation interrupts it.
        """

    @property
    def kill_time(self) -> float:
        """Seconds that `on_kill` may take in addition, because it waits for other actors itself."""
        return 0.0


def reject_or_raise(request: Request[Any, Any], error: Reject | BaseExceptionGroup[BaseException]) -> None:
    """Answer a request with an error that is a `Reject` or a group of them; raise any other error."""
    rejection = error if isinstance(error, Reject) else sole_error(error, Reject)
    if rejection is None:
        raise error
    request.fail(rejection)
