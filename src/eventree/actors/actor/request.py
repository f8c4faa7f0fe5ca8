"""A message on its way to an actor, with the answer on its way back."""

import asyncio
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Final, Generic, TypeVar

from msgspec import Struct, field

MessageT_co = TypeVar("MessageT_co", covariant=True)
ReplyT_contra = TypeVar("ReplyT_contra", contravariant=True)

CARRIED: Final[ContextVar[object]] = ContextVar("CARRIED", default=None)
"""What goes along with every message that is sent, and is there again where it is handled; None for nothing."""


@contextmanager
def carrying(value: object) -> Generator[None, None, None]:
    """Let messages that are sent inside carry a value."""
    token = CARRIED.set(value)
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator may be closed in a context of somebody else, where nothing was set
            CARRIED.reset(token)


class Request(
    Struct, Generic[MessageT_co, ReplyT_contra], eq=False
):  # a Struct is made twice as fast as any other class
    """Carry one message to an actor and, if the sender asked, its answer back.

    Attributes:
        message: What was sent.
        answer: For the runtime: what the sender awaits; None if it did not ask.
        asker_stops: For the runtime: done once the sender is asked to stop; None if it is no actor.
        taken: For the runtime: whether an actor has taken it up.
        carried: What its sender carried, such as the ids of what it worked on; see `carrying`.
    """

    message: MessageT_co
    answer: "asyncio.Future[ReplyT_contra] | None" = None
    asker_stops: "asyncio.Future[None] | None" = None
    taken: bool = False
    carried: object = field(default_factory=CARRIED.get)

    def __repr__(self) -> str:
        return f"<Request {type(self.message).__name__}>"  # what was sent is nobody else's business

    def reply(self, value: ReplyT_contra) -> None:
        """Answer the sender; does nothing where nobody waits (any more)."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer the sender with an error; does nothing where nobody waits (any more)."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def carrying(self) -> AbstractContextManager[None]:
        """Carry on what the sender carried: `with request.carrying(): ...`, in a `receive_batch` of your own.

        Around `receive` this is done for you.
        """
        return carrying(self.carried)

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
