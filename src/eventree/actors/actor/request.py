"""A message to an actor, with the future of its answer."""

import asyncio
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from msgspec import Struct, field

from eventree.instrumentation.context import CARRIED, MessageContext, propagate

MessageT_co = TypeVar("MessageT_co", covariant=True)
ReplyT_contra = TypeVar("ReplyT_contra", contravariant=True)


class Deadline(Struct, frozen=True, gc=False):
    """When the sender of a message stops waiting for its answer.

    Attributes:
        operation: What the sender asked for, for an `ActorTimeout`; None for the name of the message's class.
        seconds: How long it waits in all.
        at: When it stops, in the event loop's time.
    """

    operation: str | None
    seconds: float
    at: float


class Request(
    Struct, Generic[MessageT_co, ReplyT_contra], eq=False
):  # a Struct is created twice as fast as any other class
    """A message to an actor and, if the sender asked, its answer.

    Attributes:
        message: The message.
        answer: For the runtime: the future that the sender awaits; None if it did not ask.
        asker_stops: For the runtime: done once the sending actor is asked to stop; None if no actor asked.
        taken: For the runtime: whether the actor has taken it up.
        carried: The message context of its sender, such as correlation ids; None if it carried nothing.
        deadline: When its sender stops waiting; None if it waits for as long as it takes, or does not wait.
    """

    message: MessageT_co
    answer: "asyncio.Future[ReplyT_contra] | None" = None
    asker_stops: "asyncio.Future[None] | None" = None
    taken: bool = False
    carried: MessageContext | None = field(default_factory=CARRIED.get)
    deadline: Deadline | None = None

    def __repr__(self) -> str:
        return f"<Request {type(self.message).__name__}>"  # its content may be confidential

    def reply(self, value: ReplyT_contra) -> None:
        """Answer the sender; do nothing if the sender is not waiting."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer the sender with an error; do nothing if the sender is not waiting."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def propagate(self) -> AbstractContextManager[None]:
        """Return a context manager that restores the message context of the sender: `with request.propagate(): ...`.

        Use it in your own `receive_batch`; for `receive` the runtime does this.
        """
        return propagate(self.carried)

    @property
    def asked(self) -> bool:
        """Whether the sender asked for an answer."""
        return self.answer is not None

    @property
    def answered(self) -> bool:
        """Whether no answer is awaited: it was given, or the sender stopped waiting or never asked for one."""
        return self.answer is None or self.answer.done()

    @property
    def abandoned(self) -> bool:
        """Whether the sender asked and either stopped waiting or has its answer."""
        return self.answer is not None and self.answer.done()
