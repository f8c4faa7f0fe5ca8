"""How far a query has read, who works on it, and what it left for later: a part of the contract."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from eventree.errors import CheckpointFenced


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tell how far a query has read, and who may move it.

    Attributes:
        position: Everything up to here was handled; 0 at the beginning.
        fence: Grows with every claim; only the holder of the newest one may move the checkpoint.
    """

    position: int
    fence: int


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """Say who wants to work on a query, and from where on.

    Attributes:
        owner: Names the worker, 1 to 255 bytes.
        seconds: How long others have to wait if it is not heard of again (its lease), from 0; 0 for not at all.
        start: The position after which a new checkpoint begins; None for the end of the log. Default the beginning.
    """

    owner: str = "worker"
    seconds: float = 0.0
    start: int | None = 0


@dataclass(frozen=True, slots=True)
class ParkedCommit:
    """Tell of a commit that a query could not handle and left for later.

    Attributes:
        position: Of its first event.
        last_position: Of its last event.
        aggregate_type: The type of its aggregate.
        aggregate_id: Its aggregate; later commits of it are parked behind, so that their order is kept.
        reason: What its handler failed with, at most 1,000 characters; empty if it waits behind another one.
        parked_at: When, aware UTC; information only.
    """

    position: int
    last_position: int
    aggregate_type: str
    aggregate_id: str
    reason: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class CheckpointUpdate:
    """Say what becomes of a checkpoint in one transaction.

    Attributes:
        checkpoint: Where it goes, and the fence that allows it.
        seconds: How long the claim holds from now on; 0 leaves it as it is.
        park: Commits to park, at most one per position; one that is parked there already is replaced.
        unpark: The positions of parked commits to forget; none of those above.
        skipped: How many commits were skipped.
        replay_until: The position up to which events are handled again from now on; 0 leaves it as it is.
    """

    checkpoint: Checkpoint
    seconds: float = 0.0
    park: Sequence[ParkedCommit] = ()
    unpark: Collection[int] = ()
    skipped: int = 0
    replay_until: int = 0


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """Tell all that is stored of a checkpoint.

    Attributes:
        checkpoint: Where it stands.
        owner: Who claimed it last.
        parked: How many commits are parked.
        skipped: How many commits were skipped so far.
        replay_until: The position up to which events were handled before, as it was reset since; 0 if it never was.
        live_version: The version of this query whose results count: the first there was, until another went live.
        live_position: Where that one stands.
    """

    checkpoint: Checkpoint
    owner: str
    parked: int
    skipped: int
    replay_until: int
    live_version: int
    live_position: int


NO_LEASE: Final = LeaseRequest()
"""A claim without a lease: whoever comes next takes over at once."""


class Checkpoints(Protocol):
    """Move checkpoints: what an event store does by itself, and within the transaction of a projection."""

    async def claim_checkpoint(self, name: str, version: int, claim: LeaseRequest = NO_LEASE) -> Checkpoint:
        """Take a query's checkpoint over, created if need be; its fence grows by one.

        It is taken from whoever claimed it before if their time is over, by the store's clock, or they gave it up, or
        they are the same owner. The first version of a query is live from the beginning; a later one begins where it is
        asked to, but not after the live one, so that nothing falls between.

        Args:
            name: The query, 1 to 255 bytes.
            version: From 1; each version has a checkpoint of its own.
            claim: Who takes it over, and for how long.

        Raises:
            CheckpointHeld: It is another worker's, and that one's time is not over.
        """
        ...

    async def save_checkpoint(self, name: str, version: int, move: CheckpointUpdate) -> None:
        """Move a checkpoint, with all that belongs to it, in one transaction.

        Raises:
            CheckpointFenced: Somebody else claimed it meanwhile; nothing was changed.
        """
        ...

    async def make_live(self, name: str, version: int, fence: int) -> bool:
        """Let the results of this version count from now on, if it is newer than the live one and has read as far.

        The version that was live before is fenced, so that it handles nothing any more; what it has handled, also
        before a reset, is a replay for this one: `replay_until` is moved there.

        Returns:
            Whether this version is live now.

        Raises:
            CheckpointFenced: Somebody else claimed this version meanwhile; nothing was changed.
        """
        ...


@dataclass(frozen=True, slots=True)
class VersionRow:
    """Tell where one version of a query stands; what stores judge `make_live` by."""

    version: int
    position: int
    fence: int
    replay_until: int
    is_live: bool


def judge_make_live(name: str, rows: Sequence[VersionRow], version: int, fence: int) -> int | None:
    """Return up to where events are a replay for a version that is live or may go live now; None if it may not.

    Args:
        name: The query.
        rows: All its versions, locked by the caller.
        version: The version that wants to go live.
        fence: What its worker holds.

    Raises:
        CheckpointFenced: Somebody else claimed this version meanwhile.
    """
    own = next((row for row in rows if row.version == version), None)
    if own is None or own.fence != fence:
        raise CheckpointFenced(name, fence)
    live = [row for row in rows if row.is_live]
    if any(row.version > version or row.position > own.position for row in live):
        return None
    others = [row for row in live if row is not own]
    return max([own.replay_until, *(max(row.position, row.replay_until) for row in others)])
