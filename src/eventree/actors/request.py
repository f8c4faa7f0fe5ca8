"""A message on its way to an actor, with the answer on its way back."""

import asyncio
from typing import Generic, TypeVar

MessageT_co = TypeVar("MessageT_co", covariant=True)
ReplyT_contra = TypeVar("ReplyT_contra", contravariant=True)


class Request(Generic[MessageT_co, ReplyT_contra]):
    """Carry one message to an actor and, if the sender asked, its answer back.

    Attributes:
        message: What was sent.
        taken: Whether an actor has taken it up.
        answer: For the runtime: what the sender awaits; None if it did not ask.
        asker_stops: For the runtime: done once the sender is asked to stop; None if it is no actor.
    """

    __slots__ = ("answer", "asker_stops", "message", "taken")

    def __init__(
        self,
        message: MessageT_co,
        answer: "asyncio.Future[ReplyT_contra] | None" = None,
        asker_stops: "asyncio.Future[None] | None" = None,
    ) -> None:
        """Wrap a message; without a future nobody waits for an answer."""
        self.message = message
        self.taken = False
        self.answer = answer
        self.asker_stops = asker_stops

    def reply(self, value: ReplyT_contra) -> None:
        """Answer the sender; does nothing where nobody waits (any more)."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer the sender with an error; does nothing where nobody waits (any more)."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    @property
    def asked(self) -> bool:
        """Whether the sender asked for an answer."""
        return self.answer is not None

    @property
    def answered(self) -> bool:
        """Whether nobody waits for an answer: it was given, the sender gave up, or never asked for one."""
        return self.answer is None or self.answer.done()

    @property
    def abandoned(self) -> bool:
        """Whether the sender asked and then gave up waiting, or has its answer."""
        return self.answer is not None and self.answer.done()
