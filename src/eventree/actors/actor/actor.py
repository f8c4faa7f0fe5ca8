"""What an actor is: what its author writes, and what it is told about itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, only
from eventree.errors import StaleIncarnation
from eventree.values import subscriptable

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class StopActor(Exception):
    """Raise it in `receive` to end the actor normally; a message in work is answered with `ActorStopped`."""

    kind = ExitKind.NORMAL


class Ignore(Exception):
    """Raise it in `init` not to run after all: the start succeeds, and no actor is there (OTP's `ignore`)."""


class Reject(Exception):
    """Raise it in `receive` to refuse the message: whoever asked gets it as it is, and the actor lives on."""


@subscriptable
@dataclass(frozen=True, slots=True)
class ActorContext(Generic[MessageT_contra, ReplyT_co]):
    """What an actor knows about itself.

    Attributes:
        ref: Its own address.
        incarnation: The number of this start, from 1.
        handler_timeout: How long it may work on a message, in seconds; None for as long as it takes.
        emit: For the runtime: called with what happens below a supervisor.
    """

    ref: ActorRef[MessageT_contra, ReplyT_co]
    incarnation: int
    handler_timeout: float | None = None
    emit: Callable[[SupervisorEvent], None] = field(default=lambda _: None, repr=False)

    @property
    def is_current(self) -> bool:
        """Whether this incarnation is not over: it was neither replaced nor left behind because it would not end."""
        return self.incarnation == self.ref.incarnation and self.ref.task is not None

    def check_current(self) -> None:
        """Refuse to go on for an incarnation that is over; call it before an effect that must not come from two.

        Raises:
            StaleIncarnation: It was left behind because it would not end when it was cancelled.
        """
        if not self.is_current:
            raise StaleIncarnation(self.ref.id, self.incarnation)


class Actor(Generic[MessageT_contra, ReplyT_co]):
    """Handle messages one at a time, in a task of its own, under a supervisor.

    Subclass it and override `receive`. State lives in the instance; a restart makes a new instance, so a crash leaves
    nothing behind. An actor that wants all that is waiting sets `max_batch` and overrides `receive_batch`.
    """

    default_shutdown: float = 5.0
    """Seconds it may take to stop where its `ChildSpec` says nothing (OTP's default for a worker)."""

    max_batch: int = 1
    """How many requests `receive_batch` gets at most."""

    starts_anew: ClassVar[bool] = False
    """Whether one instance may be started again, because its `init` leaves nothing of what was before."""

    async def init(self, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> None:
        """Prepare to receive; runs in the actor's task before the first message.

        The actor counts as started once this returns, and whoever starts it waits for that. If it raises, the start
        has failed.
        """

    async def receive(self, message: MessageT_contra, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> ReplyT_co:
        """Handle one message and return the answer for whoever asked.

        An exception crashes the actor: whoever asked gets `ActorCrashed` and the supervisor decides about a restart.
        `Reject` and `StopActor` do not.
        """
        raise NotImplementedError(f"{type(self).__name__} must override receive or receive_batch")

    async def receive_batch(
        self, requests: Sequence[Request[MessageT_contra, ReplyT_co]], ctx: ActorContext[MessageT_contra, ReplyT_co]
    ) -> None:
        """Handle the requests that wait, at most `max_batch`, and answer each with its `reply` or `fail`.

        A request may also be kept and answered later. What is not answered at a crash, the loop answers. What the
        sender carried is there inside of `with request.carrying()`.
        """
        for request in requests:
            try:
                if request.carried is None:
                    request.reply(await self.receive(request.message, ctx))
                else:
                    with request.carrying():
                        request.reply(await self.receive(request.message, ctx))
            except (Reject, BaseExceptionGroup) as error:
                refuse(request, error)

    async def on_stop(self, reason: ExitReason) -> None:
        """Clean up after the last message; runs in the actor's task, within its `shutdown` time.

        It also runs after a crash, with the same limit, but not when the task was cancelled. An exception here is a
        crash, and `on_kill` runs then too.
        """

    async def on_kill(self) -> None:
        """Let go of what must not outlive the actor; runs in its task when that was cancelled, or `on_stop` failed.

        There is the `kill_grace` of its supervisor for it; a further cancellation cuts it short.
        """

    @property
    def kill_time(self) -> float:
        """How long `on_kill` may take beyond that, in seconds, because it waits for others itself."""
        return 0.0


def refuse(request: Request[Any, Any], error: Reject | BaseExceptionGroup[BaseException]) -> None:
    """Answer a request with the refusal that an error is, or holds as a group; raise it if it is anything else."""
    refusal = error if isinstance(error, Reject) else only(error, Reject)
    if refusal is None:
        raise error
    request.fail(refusal)
