"""How far a query has read, who works on it, and what it left for later: values of the contract."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final


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
class Claim:
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
class Move:
    """Say what becomes of a checkpoint in one transaction.

    Attributes:
        checkpoint: Where it goes, and the fence that allows it.
        seconds: How long the claim holds from now on; 0 leaves it as it is.
        park: Commits to park, at most one per position; one that is parked there already is replaced.
        unpark: The positions of parked commits to forget; none of those above.
        skipped: How many commits were skipped.
    """

    checkpoint: Checkpoint
    seconds: float = 0.0
    park: Sequence[ParkedCommit] = ()
    unpark: Collection[int] = ()
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """Tell all that is stored of a checkpoint.

    Attributes:
        checkpoint: Where it stands.
        owner: Who claimed it last.
        parked: How many commits are parked.
        skipped: How many commits were skipped so far.
        is_live: Whether this version was swapped in.
    """

    checkpoint: Checkpoint
    owner: str
    parked: int
    skipped: int
    is_live: bool


ANYBODY: Final = Claim()
"""A claim without a lease: whoever comes next takes over at once."""
