"""Correlation and causation ids: passed on from one command to the next, across queries and actors."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from eventree.domain.events import EventEnvelope
from eventree.domain.limits import check_id
from eventree.domain.metadata import CAUSATION_ID, CORRELATION_ID
from eventree.instrumentation.context import Carried


@dataclass(frozen=True, slots=True)
class Correlation:
    """Identify the work in progress; commands executed meanwhile get these ids in their metadata.

    Attributes:
        correlation_id: Shared by everything that follows from one initial request.
        causation_id: The direct cause, such as the id of the commit that a query is handling; None for an initial
            request.
    """

    correlation_id: str
    causation_id: str | None = None


CORRELATION: Final[Carried[Correlation | EventEnvelope[object]]] = Carried("correlation")
"""The ids of the work in progress, or the event that a query is handling, whose ids are derived only when needed."""


def correlation(correlation_id: str, *, causation_id: str | None = None) -> AbstractContextManager[None]:
    """Return a context manager that gives a correlation id to the work inside, and to everything that follows from it.

    The id is passed on to tasks created inside, and to actors with the messages sent inside.

    Args:
        correlation_id: For example the id of a web request; 1 to 255 bytes of UTF-8.
        causation_id: The direct cause, for example the id of a message from another system; default the causation id of
            the work in progress, if any.

    Raises:
        InvalidArgument: An id is invalid.
    """
    check_id("correlation_id", correlation_id)
    if causation_id is not None:
        check_id("causation_id", causation_id)
    elif (current := current_correlation()) is not None:
        causation_id = current.causation_id
    return CORRELATION.propagate(Correlation(correlation_id, causation_id))


def current_correlation() -> Correlation | None:
    """Return the ids of the work in progress, for example for a log; None if there are none.

    There are ids inside `with correlation(...)` and a query's handler, in tasks created there, and in an actor while it
    handles a message sent from there. A projection has none, as it handles many commits at once.
    """
    current = CORRELATION.get()
    if isinstance(current, EventEnvelope):
        return Correlation(current.correlation_id, str(current.commit_id))
    return current


def correlated(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Add the ids of the work in progress to metadata; ids already there take precedence."""
    current = current_correlation()
    if current is None:
        return metadata
    ids = {CORRELATION_ID: current.correlation_id}
    if current.causation_id is not None:
        ids[CAUSATION_ID] = current.causation_id
    return {**ids, **metadata}
