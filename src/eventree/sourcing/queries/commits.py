"""Commits as queries see them, and what becomes of each: handed over, skipped, or parked."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from msgspec import Struct

from eventree.errors import TooManyParked
from eventree.errors.root import error_text
from eventree.stores.contract import ParkedCommit, RecordedEvent

Key: TypeAlias = tuple[str, str]
"""The type and the id of an aggregate."""

MAX_REASON = 1_000
"""Characters of an error that are kept with a parked commit."""


class StoredCommit(Struct, frozen=True, gc=False):
    """Hold the events of one command, as a part of the page that they were read with.

    Attributes:
        position: The position of its first event.
        last_position: The position of its last event.
    """

    position: int
    last_position: int
    page: Sequence[RecordedEvent]
    start: int
    stop: int

    @property
    def events(self) -> Sequence[RecordedEvent]:
        """Its events as they are stored, in order."""
        return self.page[self.start : self.stop]

    @property
    def key(self) -> Key:
        """Its aggregate."""
        return key_of(self.page[self.start])

    def parked(self, reason: str) -> ParkedCommit:
        """Return it as it is parked, without its events, which stay in the log."""
        return ParkedCommit(self.position, self.last_position, *self.key, reason, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Say what to do with a commit that is not to be handed over any more.

    Attributes:
        reason: Why.
        park: Whether to keep it for later; else it is skipped.
    """

    reason: str
    park: bool


class HandlingFailed(Exception):  # never leaves the queries, so it is none of ours
    """What a user's function raised.

    Attributes:
        error: What it raised.
        commits: What was being handled; none where it was a `setup`, `swap` or `clear`.
    """

    def __init__(self, error: BaseException, commits: Sequence[StoredCommit] = ()) -> None:
        """Hold what was raised."""
        super().__init__(error)
        self.error = error
        self.commits = commits


class Triage:
    """Decide what becomes of commits, in order, and note what has to be stored with the checkpoint.

    Attributes:
        takes_all: Whether every commit is to be handed over.
        park: What is to be parked.
        skipped: How many commits are skipped.
    """

    def __init__(self, blocked: AbstractSet[Key], given_up: Mapping[int, GivenUp], room: int) -> None:
        """Begin with nothing decided.

        Args:
            blocked: Aggregates that have parked commits: what comes later of them is parked behind.
            given_up: What to do with commits, by the position of their first event.
            room: How many commits may be parked still.
        """
        self.takes_all = not blocked and not given_up
        self._room = room
        self._blocked = blocked
        self._blocked_now: set[Key] = set()
        self._given_up = given_up
        self.park: list[ParkedCommit] = []
        self.skipped = 0

    @property
    def has_any(self) -> bool:
        """Whether there is something to store."""
        return bool(self.park) or self.skipped > 0

    def takes(self, commit: StoredCommit) -> bool:
        """Return whether to hand a commit over.

        Raises:
            HandlingFailed: It would be one parked commit too many.
        """
        if self.takes_all:
            return True
        given_up = self._given_up.get(commit.position)
        if given_up is not None and not given_up.park:
            self.skipped += 1
        elif commit.key in self._blocked or commit.key in self._blocked_now:
            self._park(commit, "")
        elif given_up is None:
            return True
        else:
            self._park(commit, given_up.reason)
            self._blocked_now.add(commit.key)
        return False

    def _park(self, commit: StoredCommit, reason: str) -> None:
        if len(self.park) >= self._room:
            raise HandlingFailed(TooManyParked(), [commit])
        self.park.append(commit.parked(reason))


def commits_of(events: Sequence[RecordedEvent]) -> list[StoredCommit]:
    """Cut a stretch of the log where one command ends and the next begins."""
    commits: list[StoredCommit] = []
    first, last = 0, len(events) - 1
    for at, event in enumerate(events):
        # Numbers are compared a few times faster than the UUIDs that they make.
        if at == last or events[at + 1].commit_id.int != event.commit_id.int:
            commits.append(StoredCommit(events[first].position, event.position, events, first, at + 1))
            first = at + 1
    return commits


def key_of(commit: ParkedCommit | RecordedEvent) -> Key:
    """Return the aggregate of a parked commit or an event."""
    return commit.aggregate_type, commit.aggregate_id


def keys_of(parked: Iterable[ParkedCommit]) -> set[Key]:
    """Return the aggregates of parked commits."""
    return {key_of(commit) for commit in parked}


def reason_of(error: BaseException) -> str:
    """Return what is kept of an error with what it made a query park."""
    text = error_text(error).replace("\0", "\\0").encode("utf-8", "replace").decode()
    return text[:MAX_REASON]
