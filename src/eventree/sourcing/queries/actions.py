"""What a query's state can tell its worker to do, and the values that actions and reports contain."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from eventree.sourcing.queries.commits import HandlingFailed
from eventree.stores.contract import CheckpointUpdate, CommitStamp, LeaseRequest, ParkedCommit

PAGE_SIZE: Final = 1_000
"""The maximum number of positions to read at once."""

SAVE_WITHIN: Final = 0.1
"""Seconds after handling commits within which the checkpoint is stored, so that a crash repeats little."""

SAVE_AFTER: Final = 500
"""Positions after which the checkpoint is stored at the latest."""

SAVE_PASSED_AFTER: Final = 10_000
"""The same for positions without events that the query follows, so that a crash reads little again."""

SAVE_PASSED_LEASES: Final = 6
"""Leases after which they are stored all the same, so that other processes see no lag where nothing is followed."""

LEASE_RECHECK: Final = 0.1
"""Seconds after which a worker verifies that it still holds the lease, before side effects that cannot be undone."""

RECLAIM_DELAY: Final = 0.05
"""Seconds before a worker claims a checkpoint again that it lost or did not get."""


HAND_OVER_AGAIN: Final = 10
"""Leases after which a version offers its place again to a newer one that has not taken it."""


class Claim(Struct, frozen=True):
    """Claim the checkpoint."""

    lease: LeaseRequest


class LoadCheckpoint(Struct, frozen=True):
    """Load the stored checkpoint and the parked commits."""


class Renew(Struct, frozen=True):
    """Renew the lease."""

    fencing_token: int


class Read(Struct, frozen=True):
    """Read the log after a position, where the event must still have this stamp; None if that is unknown."""

    after: int
    limit: int
    stamp: CommitStamp | None = None


class Verify(Struct, frozen=True):
    """Verify that the event at a position, up to which this worker has handled the log, still has this stamp."""

    position: int
    stamp: CommitStamp


class Look(Struct, frozen=True):
    """Look whether the log goes on after a position, unless another query has done so after a time."""

    position: int
    stamp: CommitStamp | None
    since: float


class Deliver(Struct, frozen=True):
    """Deliver commits of the state to the handler."""


class Save(Struct, frozen=True):
    """Store the checkpoint."""

    update: CheckpointUpdate


class GoLive(Struct, frozen=True):
    """Make this version the live one."""


class Release(Struct, frozen=True):
    """Release the lease."""


class Wait(Struct, frozen=True):
    """Do nothing for some seconds, or until a message arrives; None for no time limit."""

    seconds: float | None


Action: TypeAlias = Claim | LoadCheckpoint | Renew | Verify | Look | Read | Deliver | Save | GoLive | Release | Wait


class Delivered(Struct, frozen=True):
    """Report the outcome of a delivery.

    Attributes:
        position: Everything up to here was handled, parked or skipped.
        handled_since: When the handler was first called, in seconds on the worker's clock; None if it was not called.
        parked: Commits to park when the checkpoint is stored; default none.
        skipped: The number of commits skipped; default 0.
        update: The update stored together with the handler's own rows; None if nothing has been stored yet.
        failure: The failure that ended it early, to be reported by `failed` next; None if there was none.
    """

    position: int
    handled_since: float | None = None
    parked: Sequence[ParkedCommit] = ()
    skipped: int = 0
    update: CheckpointUpdate | None = None
    failure: HandlingFailed | None = None


class Failure(Struct, frozen=True):
    """Describe a repeated failure of a user's function.

    Attributes:
        error: The last exception.
        attempts: How often in a row it has failed.
        retry_at: When to try again, in seconds on the worker's clock.
        position: The position of the first event of the commit it fails on; 0 for a `setup`, `swap` or `clear`.
        is_setup: Whether it failed while the checkpoint was claimed.
        is_outdated: Whether it failed because this code is older than the event; default False.
    """

    error: BaseException
    attempts: int
    retry_at: float
    position: int
    is_setup: bool
    is_outdated: bool = False
