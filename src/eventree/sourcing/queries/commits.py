"""Commits as queries see them, and the filter that skips or parks commits instead of delivering them."""

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from msgspec import Struct

from eventree.errors import TooManyParked
from eventree.errors.root import error_text
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.stores.contract import ParkedCommit, RecordedEvent

Key: TypeAlias = tuple[str, str]
"""The type and the id of an aggregate."""

MAX_REASON: Final = 1_000
"""The maximum length of the reason stored with a parked commit, in characters."""


class StoredCommit(Struct, frozen=True, gc=False):
    """Hold the events of one command, as a slice of the page that they were read in.

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
        """Its events as stored, in order."""
        return self.page[self.start : self.stop]

    @property
    def key(self) -> Key:
        """Its aggregate."""
        return key_of(self.page[self.start])

    def parked(self, reason: str) -> ParkedCommit:
        """Return it as a dead letter; the events stay in the log."""
        return ParkedCommit(self.position, self.last_position, *self.key, reason, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Rejection:
    """Reject a commit that is not to be delivered any more.

    Attributes:
        reason: Why it failed.
        park: Whether to park it; otherwise it is skipped.
    """

    reason: str
    park: bool


class HandlingFailed(Exception):  # never leaves the queries, so it is no EventreeError
    """A user's function raised an exception.

    Attributes:
        error: The exception.
        commits: The commits it was handling; none if it was a `setup`, `swap` or `clear`.
        is_uncertain: Whether its transaction may have been committed all the same, so that the stored checkpoint
            has to be read again; default False.
    """

    def __init__(
        self, error: BaseException, commits: Sequence[StoredCommit] = (), *, is_uncertain: bool = False
    ) -> None:
        """Wrap an exception."""
        super().__init__(error)
        self.error = error
        self.commits = commits
        self.is_uncertain = is_uncertain

    @property
    def is_transient(self) -> bool:
        """Whether a store was away or busy, for which no event is to blame."""
        return isinstance(self.error, TRANSIENT_ERRORS)


class CommitFilter:
    """Decide for each commit, in order, whether it is delivered; collect those to park and count those to skip.

    Attributes:
        accepts_all: Whether every commit is delivered.
        parked: Commits to park when the checkpoint is stored.
        skipped: The number of commits to skip.
    """

    def __init__(self, blocked: AbstractSet[Key], rejected: Mapping[int, Rejection], room: int) -> None:
        """Start with nothing parked and nothing skipped.

        Args:
            blocked: Aggregates with parked commits; their later commits are parked too, to keep the order.
            rejected: Commits not to be delivered, by the position of their first event.
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
        """Return whether to deliver a commit; if not, park or skip it.

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
    """Split a page of the log into its commits."""
    commits: list[StoredCommit] = []
    first, last = 0, len(events) - 1
    for at, event in enumerate(events):
        # Comparing the integers of two UUIDs is several times faster than comparing the UUIDs.
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
    """Return the text of an error, in a form that can be stored with the commit parked because of it."""
    text = error_text(error).replace("\0", "\\0").encode("utf-8", "replace").decode()
    return text[:MAX_REASON]
