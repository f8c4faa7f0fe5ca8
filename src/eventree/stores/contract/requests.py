"""Requests to the worker of a query: put by any process, carried out and answered by the one that has the lease."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

MAX_REQUESTS: Final = 100
"""How many requests of one version of a query may wait."""

KEEP_ANSWERS: Final = 3_600.0
"""Seconds after which an answer that was not taken may be deleted."""


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A request to the worker of a query.

    Attributes:
        id: Identifies it; unique in the store.
        name: The query.
        version: Its version.
        action: What to do, 1 to 255 bytes.
        argument: To what, at most 255 bytes; default empty.
    """

    id: UUID
    name: str
    version: int
    action: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """The answer to a request.

    Attributes:
        id: The request.
        result: A number that depends on the action; default 0.
        error: The class of the error it ended in, at most 255 bytes; default empty, for none.
        detail: The text of that error, or more about the result, at most 4,000 bytes; default empty.
    """

    id: UUID
    result: int = 0
    error: str = ""
    detail: str = ""


class QueryRequests(Protocol):
    """Put requests, see which wait, and take their answers; `save_checkpoint` stores an answer, with all it reports."""

    @abstractmethod
    async def put_request(self, request: QueryRequest) -> bool:
        """Put a request; it waits until it is answered, however often its query's worker changes.

        The same request again changes nothing. Answers that were not taken within an hour may be deleted.

        Returns:
            Whether there was room: at most 100 requests of one version of a query wait, else nothing was put.
        """
        ...

    @abstractmethod
    async def load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        """Return the requests that wait for an answer, in the order in which they were put."""
        ...

    @abstractmethod
    async def take_answer(self, id: UUID) -> RequestAnswer | None:
        """Return the answer to a request and delete both; None if there is none yet, or it was taken."""
        ...
