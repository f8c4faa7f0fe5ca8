"""What a person can ask of a query, and the form in which that is put to the process that works on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, assert_never
from uuid import uuid4

from eventree.errors import InvalidArgument
from eventree.stores.contract import QueryRequest


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing until `Resume`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue after a pause or a failure."""


@dataclass(frozen=True, slots=True)
class SkipCommit:
    """Skip the failing commit.

    Attributes:
        position: The position of its first event, as a check that this is the commit to skip.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Start over and deliver everything again."""


@dataclass(frozen=True, slots=True)
class RetryParked:
    """Deliver parked commits again.

    Attributes:
        aggregate_id: Deliver only those of this aggregate; None for all.
    """

    aggregate_id: str | None


@dataclass(frozen=True, slots=True)
class DropParked:
    """Discard a parked commit for good.

    Attributes:
        position: The position of its first event.
    """

    position: int


Control: TypeAlias = Pause | Resume | SkipCommit | Reset | RetryParked | DropParked


class RetriedParked(int):
    """The number of parked commits that were handled, and why others were not.

    Attributes:
        reason: The position of the first commit that failed again, and its error; empty if none failed.
    """

    reason: str

    def __new__(cls, handled: int, reason: str = "") -> Self:
        """Create a result."""
        self = super().__new__(cls, handled)
        self.reason = reason
        return self

    def __repr__(self) -> str:
        return f"RetriedParked({int(self)}, reason={self.reason!r})"


_ACTIONS: Final[dict[str, Callable[[str], Control]]] = {
    "pause": lambda _: Pause(),
    "resume": lambda _: Resume(),
    "skip": lambda position: SkipCommit(int(position)),
    "reset": lambda _: Reset(),
    "retry_parked": lambda aggregate_id: RetryParked(aggregate_id or None),
    "drop_parked": lambda position: DropParked(int(position)),
}


def request_of(control: Control, name: str, version: int) -> QueryRequest:
    """Return a new request to the worker of a query."""
    return QueryRequest(uuid4(), name, version, *_texts_of(control))


def _texts_of(control: Control) -> tuple[str, str]:
    match control:
        case Pause():
            return "pause", ""
        case Resume():
            return "resume", ""
        case SkipCommit(position):
            return "skip", str(position)
        case Reset():
            return "reset", ""
        case RetryParked(aggregate_id):
            return "retry_parked", aggregate_id or ""
        case DropParked(position):
            return "drop_parked", str(position)
        case _ as never:
            assert_never(never)


def control_of(request: QueryRequest) -> Control:
    """Return what a request asks for.

    Raises:
        InvalidArgument: This code does not know the action, or cannot read its argument.
    """
    try:
        return _ACTIONS[request.action](request.argument)
    except (KeyError, ValueError):
        asked = f"{request.action!r} of {request.argument!r}"
        raise InvalidArgument("action", f"{asked} is not known to the process that works on the query") from None
