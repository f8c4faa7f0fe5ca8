"""The append, one function on the writer's thread: classify all requests, then write the accepted ones."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TypeAlias

from eventree.stores.clock import Clock, read_clock
from eventree.stores.contract import (
    Appended,
    AppendRequest,
    CommitStamp,
    Conflict,
    DuplicateCommand,
    Outcome,
    StreamPage,
    StreamRead,
)
from eventree.stores.sqlite.connection import commit, execute_when_unlocked, writing
from eventree.stores.sqlite.reads import as_json, last_event, read_stream, stamp_of, to_micros

_STREAMS = """
SELECT stream, sequence, position, commit_id, recorded_at FROM json_each(?) AS r
LEFT JOIN streams ON aggregate_type = r.value ->> 0 AND aggregate_id = r.value ->> 1
ORDER BY r.key
"""
_KNOWN_COMMANDS = "SELECT command_id FROM commands WHERE command_id IN (SELECT value FROM json_each(?))"
_LAST_STREAM = "SELECT coalesce(max(stream), 0) FROM streams"
_PUT_STREAM = """
INSERT INTO streams (stream, aggregate_type, aggregate_id, sequence, position, commit_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET sequence = excluded.sequence, position = excluded.position,
  commit_id = excluded.commit_id, recorded_at = excluded.recorded_at
"""
_PUT_EVENT = """
INSERT INTO events
  (position, stream, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_COMMAND = """
INSERT INTO commands (command_id, stream, first_sequence, last_sequence, fingerprint) VALUES (?, ?, ?, ?, ?)
"""

_StreamRow: TypeAlias = tuple[int | None, int | None, int | None, bytes | None, int | None]
_NO_IDS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AppendResult:
    """The result of an append.

    Attributes:
        outcomes: One per request, in order.
        head: The position of the last event it stored; 0 if it stored none.
        recorded_at: When its events were stored.
        before: The stamp of the event before the first one; None if there was none.
    """

    outcomes: Sequence[Outcome]
    head: int
    recorded_at: datetime
    before: CommitStamp | None


def append(db: sqlite3.Connection, requests: Sequence[AppendRequest], deadline: float, clock: Clock) -> AppendResult:
    """Store the requests that meet no conflict or duplicate, in one transaction."""
    known: frozenset[str] = frozenset()
    while True:
        try:
            with writing(db, deadline):
                return _Append(db, requests, known, read_clock(clock)).run()
        except sqlite3.IntegrityError:
            # A command id was recorded before. Ids are looked up only now, so that new commands need no read; if that
            # finds no further id, the error has another cause.
            found = known_commands(db, (c.command_id for request in requests for c in request.commands))
            if found <= known:
                raise
            known = frozenset(found)


def begin_and_read(db: sqlite3.Connection, reads: Sequence[StreamRead], deadline: float) -> list[StreamPage]:
    """Begin a transaction that holds the write lock, and read streams; `append_and_commit` or `roll_back` ends it."""
    execute_when_unlocked(db, "BEGIN IMMEDIATE", deadline)
    return [read_stream(db, read) for read in reads]


def append_and_commit(db: sqlite3.Connection, requests: Sequence[AppendRequest], clock: Clock) -> AppendResult:
    """Store the requests that meet no conflict or duplicate, in the open transaction, and commit it."""
    known = known_commands(db, (c.command_id for request in requests for c in request.commands))
    result = _Append(db, requests, frozenset(known), read_clock(clock)).run()
    commit(db)
    return result


def roll_back(db: sqlite3.Connection) -> None:
    """Roll back the open transaction, if there is one."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def known_commands(db: sqlite3.Connection, command_ids: Iterable[str]) -> set[str]:
    """Return which of these ids are recorded."""
    return {row[0] for row in db.execute(_KNOWN_COMMANDS, (as_json(list(command_ids)),))}


class _Append:
    """Make one attempt at an append, within a transaction that holds the write lock."""

    def __init__(
        self, db: sqlite3.Connection, requests: Sequence[AppendRequest], known: frozenset[str], now: datetime
    ) -> None:
        self._db = db
        self._requests = requests
        self._known = set(known)
        self._head, self._before = last_event(db)
        self._position = self._head
        self._last_stream = db.execute(_LAST_STREAM).fetchone()[0]
        self._recorded_at = now
        self._now = to_micros(now)
        self._streams: list[tuple[int, str, str, int, int, bytes | None, int]] = []
        self._events: list[Iterator[tuple[object, ...]]] = []
        self._commands: list[tuple[str, int, int, int, str | None]] = []

    def run(self) -> AppendResult:
        keys = as_json([(request.aggregate_type, request.aggregate_id) for request in self._requests])
        rows = self._db.execute(_STREAMS, (keys,)).fetchall()
        outcomes = [self._classify(request, row) for request, row in zip(self._requests, rows, strict=True)]
        self._db.executemany(_PUT_STREAM, self._streams)
        self._db.executemany(_PUT_EVENT, chain.from_iterable(self._events))
        self._db.executemany(_PUT_COMMAND, self._commands)
        head = self._position if self._position > self._head else 0
        return AppendResult(outcomes, head, self._recorded_at, self._before)

    def _classify(self, request: AppendRequest, row: _StreamRow) -> Outcome:
        """Return the outcome of one request and, if it is accepted, collect its rows."""
        stream, sequence, position = row[0], row[1] or 0, row[2] or 0
        commit_id, recorded_at = row[3], row[4] or 0
        expected = request.expected_stamp
        if sequence != request.expected_sequence or (
            expected is not None and (expected.commit_id.bytes, to_micros(expected.recorded_at)) != row[3:]
        ):
            return Conflict(sequence)
        ids = {command.command_id for command in request.commands} if request.commands else _NO_IDS
        if not ids.isdisjoint(self._known):
            return DuplicateCommand(frozenset(ids & (self._known | known_commands(self._db, ids))))
        if not request.events and not request.commands:
            return Appended(sequence, position, stamp_of(commit_id, recorded_at))
        if stream is None:
            self._last_stream += 1
            stream = self._last_stream
        if request.events:
            self._events.append(_rows(request, stream, self._position, self._now))
            self._position += len(request.events)
            sequence, position = sequence + len(request.events), self._position
            commit_id, recorded_at = request.events[-1].commit_id.bytes, self._now
        self._streams.append(
            (stream, request.aggregate_type, request.aggregate_id, sequence, position, commit_id, recorded_at)
        )
        self._known |= ids
        self._commands.extend(
            (command.command_id, stream, command.first_sequence, command.last_sequence, command.fingerprint)
            for command in request.commands
        )
        return Appended(sequence, position, stamp_of(commit_id, recorded_at))


def _rows(request: AppendRequest, stream: int, position: int, now: int) -> Iterator[tuple[object, ...]]:
    sequence = request.expected_sequence
    for number, event in enumerate(request.events, 1):
        yield (
            position + number,
            stream,
            sequence + number,
            event.event_type,
            event.event_version,
            event.payload,
            event.metadata,
            event.commit_id.bytes,
            now,
        )
