"""What the state of a query asks of its worker, and the values that requests and reports are made of."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit
from eventree.stores.contract import CheckpointUpdate, LeaseRequest, ParkedCommit

PAGE: Final = 1_000
"""Positions to read at once."""

SAVE_WITHIN: Final = 0.1
"""Seconds after which the checkpoint of what was handled is stored, so that a crash repeats little."""

SAVE_AFTER: Final = 500
"""Positions after which it is stored at the latest."""

LEASE_RECHECK: Final = 0.1
"""Seconds after which a worker looks whether it still has the lease, before side effects that cannot be undone."""

RECLAIM_DELAY: Final = 0.05
"""Seconds before a worker claims a checkpoint again that it has lost or has not got."""


class Claim(Struct, frozen=True):
    """Claim the checkpoint."""

    lease: LeaseRequest


class LookUp(Struct, frozen=True):
    """Load the stored checkpoint and what is parked."""


class Renew(Struct, frozen=True):
    """Extend the lease."""

    fencing_token: int


class Read(Struct, frozen=True):
    """Read the log after a position."""

    after: int
    limit: int


class Deliver(Struct, frozen=True):
    """Hand the commits of the state to the handler, as many as is good at once."""


class Save(Struct, frozen=True):
    """Store the checkpoint."""

    update: CheckpointUpdate


class GoLive(Struct, frozen=True):
    """Make the results of this version the ones that count."""


class Release(Struct, frozen=True):
    """Give the lease back."""


class Wait(Struct, frozen=True):
    """Do nothing for some seconds, None for as long as no message comes."""

    seconds: float | None


Request: TypeAlias = Claim | LookUp | Renew | Read | Deliver | Save | GoLive | Release | Wait


class Delivered(Struct, frozen=True):
    """Report what became of the commits that were to be delivered.

    Attributes:
        position: Everything up to here was handled, parked or skipped.
        handled_since: When the handler was called first; None if it was not called.
        parked: What is to be parked when the checkpoint is stored.
        skipped: How many commits were skipped.
        update: What was stored together with the handler's own rows; None if nothing has been stored yet.
        failure: Why it ended early; reported by `failed` after this.
    """

    position: int
    handled_since: float | None = None
    parked: Sequence[ParkedCommit] = ()
    skipped: int = 0
    update: CheckpointUpdate | None = None
    failure: HandlingFailed | None = None


class Failure(Struct, frozen=True):
    """What keeps failing.

    Attributes:
        error: What the handler raised last.
        attempts: How often in a row it has failed.
        retry_at: When to try again.
        commit: The commit; None if it was a `setup`, `swap` or `clear`.
        is_setup: Whether it failed while the checkpoint was claimed.
    """

    error: BaseException
    attempts: int
    retry_at: float
    commit: StoredCommit | None
    is_setup: bool
