"""How commits reach a user's function: the one thing in which a `Query` and a `Projection` differ."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from eventree.domain.metadata import decode_metadata
from eventree.instrumentation import DeliveredCommit, QueryDelivery
from eventree.sourcing.queries.commits import StoredCommit
from eventree.sourcing.queries.context import query_context
from eventree.sourcing.queries.requests import Delivered
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest, ParkedCommit


class Delivery(Protocol):
    """Hand commits to a user's function, and store how far that is in the order that keeps the promise of its kind.

    Methods raise `HandlingFailed` for what a user's function raised, and an `EventStoreError` where the store failed.
    """

    @property
    def recheck_after(self) -> float:
        """Seconds after which the lease has to be looked at before commits are delivered; infinite for never."""
        ...

    async def claim(self, lease: LeaseRequest) -> Checkpoint:
        """Claim the checkpoint."""
        ...

    async def deliver(self, state: QueryState) -> Delivered:
        """Deliver the commits of a state, in order, as many as is good at once."""
        ...

    async def deliver_parked(
        self, state: QueryState, commit: StoredCommit, parked: ParkedCommit
    ) -> CheckpointUpdate | None:
        """Deliver a parked commit.

        Returns:
            What was stored with the handler's own rows, so that the commit is parked no more; None if that is still to
            be stored.
        """
        ...

    async def go_live(self, state: QueryState) -> None:
        """Make the results of this version the ones that count, if it has read as far as the live one."""
        ...

    async def reset(self, state: QueryState, update: CheckpointUpdate) -> None:
        """Undo what the handler has stored, and store a checkpoint that begins anew."""
        ...


def is_being_cancelled() -> bool:
    """Tell the cancellation of this task from one that a handler met in something it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def delivery_of(commits: Sequence[StoredCommit]) -> QueryDelivery:
    """Return the record of the call of a handler that is about to begin, in its query context."""
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
