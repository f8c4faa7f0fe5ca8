"""What a query does with events: the contract between its actor and a handler or a projection."""

from collections.abc import Sequence
from typing import Protocol

from eventree.sourcing.queries.commits import StoredCommit
from eventree.sourcing.queries.hold import Hold
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest, ParkedCommit


class Target(Protocol):
    """Handle commits and store how far that is, in the order that keeps the promise of its kind.

    What it raises: `HandlingFailed` for what a user's function raised, with nothing stored beyond what was handled
    before it; an `EventStoreError` if the store failed.
    """

    async def claim(self, claim: LeaseRequest) -> Checkpoint:
        """Take the checkpoint over."""
        ...

    async def hand_over(self, commits: Sequence[StoredCommit], end: int, hold: Hold) -> None:
        """Handle commits, as many of them as is good at once, and move the hold.

        Args:
            commits: What comes after the hold's position, in order.
            end: Up to where the log was looked at for them.
            hold: Where the query stands.
        """
        ...

    async def hand_over_parked(self, commit: StoredCommit, parked: ParkedCommit, hold: Hold) -> None:
        """Handle a commit that was parked, and forget that it was."""
        ...

    async def go_live(self, hold: Hold) -> bool:
        """Let the results of this version count; return whether they do now."""
        ...

    async def reset(self, hold: Hold, move: CheckpointUpdate) -> None:
        """Go back to an earlier position, and forget what was handled since."""
        ...
