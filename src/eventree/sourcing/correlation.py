"""Who caused what: two ids that follow from one command to the next, over queries and actors."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from eventree.actors.actor.request import CARRIED, carrying
from eventree.domain.events import EventEnvelope
from eventree.domain.limits import check_id
from eventree.domain.metadata import CAUSATION_ID, CORRELATION_ID


@dataclass(frozen=True, slots=True)
class Correlation:
    """Tell what is being worked on; commands that are executed meanwhile have these ids in their metadata.

    Attributes:
        correlation_id: The same for all that follows from one beginning.
        causation_id: What directly led to it, such as the id of the commit that a query is handling; None for a
            beginning.
    """

    correlation_id: str
    causation_id: str | None = None


def correlation(correlation_id: str, *, causation_id: str | None = None) -> AbstractContextManager[None]:
    """Return a context manager: all that is done inside, and all that follows from that, has one correlation id.

    Tasks that are made inside have it too, and so has what an actor does for a message that was sent inside.

    Args:
        correlation_id: For example the id of a web request; 1 to 255 bytes of UTF-8.
        causation_id: What led to this, for example the id of a message from outside; default what led to what is being
            worked on already, if anything did.

    Raises:
        InvalidArgument: An id cannot be accepted.
    """
    check_id("correlation_id", correlation_id)
    if causation_id is not None:
        check_id("causation_id", causation_id)
    elif (current := current_correlation()) is not None:
        causation_id = current.causation_id
    return carrying(Correlation(correlation_id, causation_id))


def current_correlation() -> Correlation | None:
    """Return the ids of what is being worked on, for a log for example; None if there are none.

    There are some inside of `with correlation(...)` and of a query's handler, in tasks that were made there, and in an
    actor while it handles a message from there. There are none in a projection, as it gets many commits at once.
    """
    carried = CARRIED.get()
    if isinstance(carried, EventEnvelope):  # it is being handled
        return Correlation(carried.correlation_id, str(carried.commit_id))
    return carried if isinstance(carried, Correlation) else None


def correlated(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return metadata with the ids of what is being worked on; those that it has itself stand."""
    current = current_correlation()
    if current is None:
        return metadata
    ids = {CORRELATION_ID: current.correlation_id}
    if current.causation_id is not None:
        ids[CAUSATION_ID] = current.causation_id
    return {**ids, **metadata}
