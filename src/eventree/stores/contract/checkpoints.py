"""Checkpoints: the progress of a query, the worker that holds its lease, and the commits it has parked."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

from eventree.stores.contract.log import CommitStamp
from eventree.stores.contract.requests import RequestAnswer


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The progress of a query, with the token that allows moving it.

    Attributes:
        position: Every event up to here was handled; 0 at the beginning.
        fencing_token: Increases with every claim; only a worker with the newest token may move the checkpoint.
        stamp: The stamp of the event at the position; None if it is unknown, or if there is none. It is no part of a
            comparison.
    """

    position: int
    fencing_token: int
    stamp: CommitStamp | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A worker's request for the lease on a checkpoint.

    Attributes:
        owner: The name of the worker, 1 to 255 bytes; default "worker".
        seconds: How long the lease lasts unless it is renewed, 0 to 86,400; default 0, which lets any other worker
            take over at once.
        start: The position after which a new checkpoint starts; None for the end of the log. Default 0, the beginning.
    """

    owner: str = "worker"
    seconds: float = 0.0
    start: int | None = 0


@dataclass(frozen=True, slots=True)
class ParkedCommit:
    """A commit that a query could not handle and set aside.

    Attributes:
        position: The position of its first event.
        last_position: The position of its last event.
        aggregate_type: The type of its aggregate.
        aggregate_id: Its aggregate; later commits of it are parked behind this one, so that their order is kept.
        reason: The failure of the handler, at most 4,000 bytes; empty if the commit waits behind another one.
        parked_at: When it was parked, as aware UTC; for information only.
    """

    position: int
    last_position: int
    aggregate_type: str
    aggregate_id: str
    reason: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """The failure of a commit that a query is trying to handle.

    Attributes:
        position: The position of its first event.
        attempts: How often in a row it has failed, at least 1.
        reason: The last failure, at most 4,000 bytes.
        failed_at: When that was, as aware UTC; for information only.
    """

    position: int
    attempts: int
    reason: str
    failed_at: datetime


StopKind: TypeAlias = Literal["stopped", "outdated"]
"""Why a worker handles nothing any more: it gave up, or its code is older than the next event."""


@dataclass(frozen=True, slots=True)
class StoredStop:
    """What a worker has reported when it let go of a query.

    Attributes:
        kind: Whether it gave up, or is older than the next event.
        reason: Why, at most 4,000 bytes.
    """

    kind: StopKind
    reason: str


@dataclass(frozen=True, slots=True)
class CheckpointUpdate:
    """Changes to a checkpoint, made in one transaction.

    Attributes:
        checkpoint: The new position, and the fencing token that allows the update. If it has a stamp, the event at
            the position must still have it.
        moved_from: The position at which the checkpoint must still be; default None, which is not compared.
        seconds: How long the lease lasts from now on; default 0, which leaves it unchanged.
        park: Commits to park, at most one per position; a commit already parked there is replaced.
        unpark: The positions of parked commits to delete; none of those in `park`.
        skipped: How many commits were skipped; default 0.
        replay_until: The position up to which events are now handled again; default 0, which leaves it unchanged.
        failure: The failure of the commit to be handled next; default None: there is none, which deletes a stored one.
        paused: Whether the query is paused from now on; default None, which leaves it unchanged.
        answers: Answers to requests of this version of the query, each given if the request waits; default none.
    """

    checkpoint: Checkpoint
    seconds: float = 0.0
    park: Sequence[ParkedCommit] = ()
    unpark: Collection[int] = ()
    skipped: int = 0
    replay_until: int = 0
    moved_from: int | None = None
    failure: StoredFailure | None = None
    paused: bool | None = None
    answers: Sequence[RequestAnswer] = ()


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint with everything stored about it.

    Attributes:
        checkpoint: Its position and newest fencing token.
        owner: The worker that claimed it last.
        parked: How many commits are parked.
        skipped: How many commits were skipped so far.
        replay_until: The position up to which events were handled before the last reset; 0 without one.
        live_version: The version of this query whose results are in use: the first one, until another goes live.
        live_position: The position of the live version.
        next_version: A newer version than this one that a worker holds the lease of, and that has read nearly as far,
            within 1,000 positions; 0 if there is none.
        is_paused: Whether the query is paused.
        failure: The failure of the commit to be handled next; None if there is none.
        stop: What the worker that claimed it last has reported when it let go of it; None if it has not.
        requests: How many requests wait.
        lease_seconds: How long the lease lasts unless it is renewed; 0 if it has expired or was released. It is no part
            of a comparison.
    """

    checkpoint: Checkpoint
    owner: str
    parked: int
    skipped: int
    replay_until: int
    live_version: int
    live_position: int
    next_version: int = 0
    is_paused: bool = False
    failure: StoredFailure | None = None
    stop: StoredStop | None = None
    requests: int = 0
    lease_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class QuerySummary:
    """One version of a query, in the list of all queries.

    Attributes:
        name: The query.
        version: Its version.
        checkpoint: Its position and newest fencing token.
        owner: The worker that claimed it last.
        lease_seconds: How long the lease of that worker lasts unless it is renewed; 0 if it has expired or was
            released, so that any worker may take over.
        is_live: Whether this is the version whose results are in use.
        parked: How many commits are parked.
        skipped: How many commits were skipped so far.
        replay_until: The position up to which events were handled before the last reset; 0 without one.
    """

    name: str
    version: int
    checkpoint: Checkpoint
    owner: str
    lease_seconds: float
    is_live: bool
    parked: int
    skipped: int
    replay_until: int


NEARLY: Final = 1_000
"""How many positions a newer version may be behind to count as having read nearly as far."""

NO_LEASE: Final = LeaseRequest()
"""A claim without a lease: the next worker takes over at once."""


class CheckpointWriter(Protocol):
    """Claim and move checkpoints, each call in its own transaction, or all in that of a projection."""

    @abstractmethod
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        """Claim a query's checkpoint, creating it if it does not exist; its fencing token increases by one.

        The claim succeeds if the previous lease has expired by the store's clock or was released, or if it has the same
        owner; it deletes what the last worker has reported as its stop. The first version of a query is live from the
        beginning; a later one starts where the request says, but not after the live version, so that no event is missed
        between them.

        Args:
            name: The query, 1 to 255 bytes.
            version: From 1; each version has its own checkpoint.
            lease: The worker, and how long its lease lasts.

        Raises:
            CheckpointHeld: Another worker holds a lease that has not expired.
        """
        ...

    @abstractmethod
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        """Move a checkpoint and apply everything else in the update, in one transaction.

        Raises:
            CheckpointFenced: Another worker has claimed it since; nothing was changed.
            LogRolledBack: The checkpoint is not where it was last stored, or the event at the new position is another
                one than expected: the database has gone back in time. Nothing was changed.
        """
        ...

    @abstractmethod
    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        """Make this version the live one, if it is newer than the live version and has read as far.

        While a worker holds the lease of the live version, that one stays live: it may have handled more than it has
        stored. Afterwards it is fenced, so that it handles no more events. Events that it has handled,
        including before a reset, are a replay for the new version: `replay_until` is set accordingly.

        Returns:
            Whether this version is live now.

        Raises:
            CheckpointFenced: Another worker has claimed this version since; nothing was changed.
        """
        ...


class Checkpoints(CheckpointWriter, Protocol):
    """Claim, move, renew and read checkpoints."""

    @abstractmethod
    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        """Renew the lease on a checkpoint.

        The position stays as it is, so a late renewal is harmless.

        Args:
            name: The query.
            version: Its version.
            fencing_token: The token of the worker that renews.
            seconds: How long the lease lasts from now on, 0 to 86,400; 0 releases it.

        Returns:
            Whether the token is still the newest; if not, nothing was changed.
        """
        ...

    @abstractmethod
    async def stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        """Report that a worker lets go of a query and why, and release its lease.

        The owner is enough: one that gives up may have forgotten its fencing token.

        Args:
            name: The query.
            version: Its version.
            owner: The worker.
            stop: What it reports, kept until the checkpoint is claimed again.

        Returns:
            Whether it was the last to claim the checkpoint; if not, nothing was changed.
        """
        ...

    @abstractmethod
    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """Return everything stored about a checkpoint, or None if it does not exist."""
        ...

    @abstractmethod
    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """Return parked commits by position.

        Args:
            name: The query.
            version: Its version.
            after: Return commits with a higher position; default 0, all of them.
            limit: The maximum number of commits, at least 1; default 1,000.
        """
        ...

    @abstractmethod
    async def list_queries(self) -> Sequence[QuerySummary]:
        """Return every version of every query that has a checkpoint, by the UTF-8 bytes of its name, then by version.

        Leases are judged by the clock of the store.
        """
        ...
