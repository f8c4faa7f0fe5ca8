"""Commits as queries see them, and which of them a handler gets: the others are skipped or parked."""

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from msgspec import Struct

from eventree.errors import TooManyParked
from eventree.errors.root import error_text
from eventree.stores.contract import ParkedCommit, RecordedEvent

Key: TypeAlias = tuple[str, str]
"""The type and the id of an aggregate."""

MAX_REASON: Final = 1_000
"""Characters of an error that are stored with a parked commit."""


class StoredCommit(Struct, frozen=True, gc=False):
    """The events of one command, as a slice of the page that they were read with.

    Attributes:
        position: The position of its first event.
        last_position: The position of its last event.
        page: The events of the whole page.
        start: The index of its first event in the page.
        stop: The index after its last event in the page.
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
        """Return its dead letter; the events stay in the log."""
        return ParkedCommit(self.position, self.last_position, *self.key, reason, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Rejection:
    """What becomes of a commit that has failed for the last time.

    Attributes:
        reason: Why it failed.
        park: Whether it is parked; otherwise it is skipped.
    """

    reason: str
    park: bool


class HandlingFailed(Exception):  # never leaves the queries, so it is no EventreeError
    """A user's function raised.

    Attributes:
        error: What it raised.
        commits: What it was handling; none where it was a `setup`, `swap` or `clear`.
        is_uncertain: Whether its transaction may have been committed all the same, so that the stored checkpoint
            has to be read again.
    """

    def __init__(
        self, error: BaseException, commits: Sequence[StoredCommit] = (), *, is_uncertain: bool = False
    ) -> None:
        """Wrap what was raised."""
        super().__init__(error)
        self.error = error
        self.commits = commits
        self.is_uncertain = is_uncertain


class CommitFilter:
    """Decide commit by commit, in order, what the handler gets, and collect what is parked and skipped.

    Attributes:
        accepts_all: Whether the handler gets every commit.
        parked: What is to be parked when the checkpoint is stored.
        skipped: How many commits were skipped.
    """

    def __init__(self, blocked: AbstractSet[Key], rejected: Mapping[int, Rejection], room: int) -> None:
        """Start with nothing parked and nothing skipped.

        Args:
            blocked: Aggregates that have parked commits: their later commits are parked behind them.
            rejected: Commits that are not to be delivered, by the position of their first event.
            room: How many more commits may be parked.
        """
        self.accepts_all = not blocked and not rejected
        self.parked: list[ParkedCommit] = []
        self.skipped = 0
        self._blocked = blocked
        self._blocked_now: set[Key] = set()
        self._rejected = rejected
        self._room = room

    def accepts(self, commit: StoredCommit) -> bool:
        """Return whether the handler gets a commit; park or skip it otherwise.

        Raises:
            HandlingFailed: There is no room for another parked commit.
        """
        if self.accepts_all:
            return True
        rejection = self._rejected.get(commit.position)
        if rejection is not None and not rejection.park:
            self.skipped += 1
        elif commit.key in self._blocked or commit.key in self._blocked_now:
            self._park(commit, "")
        elif rejection is None:
            return True
        else:
            self._park(commit, rejection.reason)
            self._blocked_now.add(commit.key)
        return False

    def _park(self, commit: StoredCommit, reason: str) -> None:
        if len(self.parked) >= self._room:
            raise HandlingFailed(TooManyParked(), [commit])
        self.parked.append(commit.parked(reason))


def commits_of(events: Sequence[RecordedEvent]) -> list[StoredCommit]:
    """Cut a stretch of the log into its commits."""
    commits: list[StoredCommit] = []
    first, last = 0, len(events) - 1
    for at, event in enumerate(events):
        # The numbers of two UUIDs compare several times faster than the UUIDs themselves.
        if at == last or events[at + 1].commit_id.int != event.commit_id.int:
            commits.append(StoredCommit(events[first].position, event.position, events, first, at + 1))
            first = at + 1
    return commits


def key_of(commit: ParkedCommit | RecordedEvent) -> Key:
    """Return the aggregate of a parked commit or an event."""
    return commit.aggregate_type, commit.aggregate_id


def keys_of(parked: Iterable[ParkedCommit]) -> frozenset[Key]:
    """Return the aggregates of parked commits."""
    return frozenset(map(key_of, parked))


def reason_of(error: BaseException) -> str:
    """Return the text of an error that is stored with the commit it parked."""
    text = error_text(error).replace("\0", "\\0").encode("utf-8", "replace").decode()
    return text[:MAX_REASON]
