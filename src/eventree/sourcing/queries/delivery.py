"""The protocol by which commits reach a user's function: this is where a `Query` and a `Projection` differ."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from eventree.domain.metadata import decode_metadata
from eventree.errors.failures import is_failure
from eventree.instrumentation import DeliveredCommit, QueryDelivery
from eventree.sourcing.queries.actions import Delivered
from eventree.sourcing.queries.calls import HandlerCalls, is_running
from eventree.sourcing.queries.commits import StoredCommit
from eventree.sourcing.queries.context import query_context
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest, ParkedCommit


class Delivery(Protocol):
    """Deliver commits to a user's function, and move the checkpoint as its guarantee demands.

    Methods raise `HandlingFailed` if a user's function raises, and an `EventStoreError` if the store fails.
    """

    @property
    def recheck_after(self) -> float:
        """Seconds after which the lease must be verified again before commits are delivered; infinite for never."""
        ...

    @property
    def calls(self) -> HandlerCalls:
        """The calls of the user's functions."""
        ...

    async def claim(self, lease: LeaseRequest) -> Checkpoint:
        """Claim the checkpoint."""
        ...

    async def deliver(self, state: QueryState) -> Delivered:
        """Deliver commits of the state, in order; a delivery may end before the last one, to keep turns short."""
        ...

    async def deliver_parked(
        self, state: QueryState, commit: StoredCommit, parked: ParkedCommit
    ) -> CheckpointUpdate | None:
        """Deliver a parked commit.

        Returns:
            The update stored together with the handler's own rows, which removes the commit from the parked ones; None
            if the caller has to store that.
        """
        ...

    async def go_live(self, state: QueryState) -> None:
        """Make this version the live one, if it has read as far as the version that is live."""
        ...

    async def reset(self, state: QueryState, update: CheckpointUpdate) -> None:
        """Undo what the handler has stored, if possible, and store the checkpoint to start over from."""
        ...


def is_failure_of_handler(error: BaseException) -> bool:
    """Return whether an error, out of a function or its coroutine, is its failure rather than a wish to leave.

    A `CancelledError` is a wish if this task is being cancelled, else it comes from what the function awaits. Any other
    error is one if the actor is being stopped, as the function may have made it of its cancellation.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return is_failure(error, cancelled=False, closed=True)
    return is_running() and is_failure(error, closed=True)


def delivery_of(commits: Sequence[StoredCommit]) -> QueryDelivery:
    """Return the record of a call of a handler that is about to begin, for the current query context."""
    context = query_context()
    delivered = [_delivered(commit) for commit in commits]
    return QueryDelivery(context.name, context.version, delivered, context.attempt, context.is_replay)


def _delivered(commit: StoredCommit) -> DeliveredCommit:
    event = commit.events[0]
    metadata = decode_metadata(event.metadata)
    return DeliveredCommit(
        *commit.key,
        event.commit_id,
        first_position=commit.position,
        last_position=commit.last_position,
        metadata=metadata,
    )
