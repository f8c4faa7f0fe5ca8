"""The append as one plain statement, repeated until every request of a call has its outcome."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from eventree.errors import CommitOutcomeUnknown, TransactionFailed
from eventree.stores.checked import Decide
from eventree.stores.contract import (
    Appended,
    AppendRequest,
    CommitStamp,
    Conflict,
    DuplicateCommand,
    NewEvent,
    Outcome,
    StreamRead,
)
from eventree.stores.live import types_of
from eventree.stores.postgres.driver import DRIVER_ERRORS, Row, SessionChanged, violates
from eventree.stores.postgres.reads import read_streams, stamp_columns, stamp_of
from eventree.stores.postgres.replication import IS_AWAITED, wait_for_standby
from eventree.stores.postgres.schema import SchemaConnection
from eventree.stores.shared_appends import Shipment

# The lock on the head comes first, because everything else is joined to it. READ COMMITTED re-evaluates an UPDATE on
# the newest row, so a request that lost a race drops out of `kept`. A request that only checks has no n; it is checked
# against the snapshot of this statement, which is as recent as the call. LATERAL with LIMIT forces an index lookup per
# row, whatever the planner assumes about table sizes, which it may not know yet. All events get the same time, taken
# under the lock. `newest` is the event before the first one; it is missing if it was stored while we waited for the
# lock, as this statement does not see it. A session without the marker has lost our settings: it stores nothing.
_APPEND: Final = """
WITH locked AS MATERIALIZED (
  SELECT position FROM {schema}.head WHERE id AND current_setting('eventree.session', true) = $16 LIMIT 1 FOR UPDATE),
clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM locked),
newest AS MATERIALIZED (
  SELECT e.commit_id, e.recorded_at FROM locked CROSS JOIN LATERAL (
    SELECT commit_id, recorded_at FROM {schema}.events WHERE position = locked.position LIMIT 1) e),
wanted AS MATERIALIZED (
  SELECT r.* FROM locked, unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $17::uuid[], $18::timestamptz[])
    WITH ORDINALITY r (aggregate_type, aggregate_id, expected, n, stamp_id, stamp_time, number)),
created AS (
  INSERT INTO {schema}.streams (aggregate_type, aggregate_id, sequence)
  SELECT aggregate_type, aggregate_id, n FROM wanted WHERE expected = 0 AND n >= 0 AND stamp_id IS NULL
  ON CONFLICT (aggregate_type, aggregate_id) DO NOTHING
  RETURNING stream, aggregate_type, aggregate_id, sequence),
advanced AS (
  UPDATE {schema}.streams s SET sequence = s.sequence + w.n FROM wanted w
  WHERE s.aggregate_type = w.aggregate_type AND s.aggregate_id = w.aggregate_id AND s.sequence = w.expected
    AND w.n >= 0 AND (w.stamp_id IS NULL OR EXISTS (
      SELECT FROM {schema}.events e WHERE e.stream = s.stream AND e.sequence = w.expected
        AND e.commit_id = w.stamp_id AND e.recorded_at = w.stamp_time))
  RETURNING s.stream, s.aggregate_type, s.aggregate_id, s.sequence),
kept AS MATERIALIZED (
  SELECT k.stream, k.sequence, w.number, w.n, locked.position + (sum(w.n) OVER (ORDER BY w.number))::bigint AS position
  FROM (SELECT * FROM created UNION ALL SELECT * FROM advanced) k
  JOIN wanted w ON w.aggregate_type = k.aggregate_type AND w.aggregate_id = k.aggregate_id, locked),
stored AS (
  INSERT INTO {schema}.events
    (position, stream, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at)
  SELECT k.position - k.n + e.at, k.stream, k.sequence - k.n + e.at,
         e.event_type, e.event_version, e.payload, e.metadata, e.commit_id, (SELECT now FROM clock)
  FROM kept k JOIN unnest($5::bigint[], $6::bigint[], $7::text[], $8::int[], $9::json[], $10::json[], $11::uuid[])
    e (number, at, event_type, event_version, payload, metadata, commit_id) ON e.number = k.number),
recorded AS (
  INSERT INTO {schema}.commands (command_id, stream, first_sequence, last_sequence, fingerprint)
  SELECT c.command_id, k.stream, c.first_sequence, c.last_sequence, c.fingerprint
  FROM kept k JOIN unnest($12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $19::text[])
    c (number, command_id, first_sequence, last_sequence, fingerprint) ON c.number = k.number),
moved AS (
  UPDATE {schema}.head SET position = (SELECT max(position) FROM kept)
  WHERE id AND EXISTS (SELECT FROM kept WHERE n > 0))
SELECT k.stream IS NOT NULL, coalesce(k.sequence, s.sequence, 0),
       CASE WHEN k.n > 0 THEN k.position ELSE coalesce(e.position, 0) END, e.commit_id, e.recorded_at,
       (SELECT now FROM clock), (SELECT commit_id FROM newest), (SELECT recorded_at FROM newest)
FROM wanted w LEFT JOIN kept k USING (number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM {schema}.streams s WHERE coalesce(w.n, 0) = 0
    AND s.aggregate_type = w.aggregate_type AND s.aggregate_id = w.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position, commit_id, recorded_at FROM {schema}.events e
  WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) e ON true
ORDER BY w.number
"""
_SEQUENCES: Final = """
SELECT false, coalesce(s.sequence, 0), coalesce(e.position, 0), e.commit_id, e.recorded_at, {is_awaited}
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY r (aggregate_type, aggregate_id, number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM {schema}.streams s
  WHERE s.aggregate_type = r.aggregate_type AND s.aggregate_id = r.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position, commit_id, recorded_at FROM {schema}.events e
  WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) e ON true
ORDER BY r.number
""".replace("{is_awaited}", IS_AWAITED)
_STORED: Final = """
SELECT event_type, event_version, payload, metadata, commit_id, position, recorded_at, {is_awaited}
FROM {schema}.events
WHERE stream = (SELECT stream FROM {schema}.streams WHERE aggregate_type = $1 AND aggregate_id = $2)
  AND sequence > $3 AND sequence <= $4 ORDER BY sequence
""".replace("{is_awaited}", IS_AWAITED)
_LOCK_HEAD: Final = """
SELECT position FROM {schema}.head WHERE id AND current_setting('eventree.session', true) = $1 FOR UPDATE
"""
_HAS_HEAD: Final = "SELECT EXISTS (SELECT FROM {schema}.head WHERE id)"
_KNOWN: Final = "SELECT command_id FROM {schema}.commands WHERE command_id = ANY($1::text[])"

_MAX_ROUNDS = 16
"""How often requests without an outcome are sent again before the append fails."""

Stored: TypeAlias = tuple[Sequence[tuple[AppendRequest, Outcome]], datetime, CommitStamp | None]
"""The requests stored by one statement, with their outcomes, the time of their events, and the stamp of the event
before the first one; None if that is unknown."""


class AppendAttempt:
    """Carry out one call of `append`; it can be run again on another connection if the first one was lost."""

    def __init__(self, requests: Sequence[AppendRequest], session: str) -> None:
        """Start without outcomes.

        Args:
            requests: The requests.
            session: The marker that the connection's session must have, else nothing is stored.
        """
        self._requests = requests
        self._session = session
        self._is_in_transaction = False
        self._outcomes: list[Outcome | None] = [None] * len(requests)
        self._sent = False
        self._stored: list[Stored] = []

    @property
    def stored(self) -> Sequence[Stored]:
        """The requests stored by each statement of the last run, in order; empty once an answer was lost."""
        return self._stored

    @property
    def head(self) -> int:
        """The position of the last event it stored; 0 if it stored none."""
        stored = zip(self._requests, self._outcomes, strict=True)
        return max((o.position for r, o in stored if r.events and isinstance(o, Appended)), default=0)

    @property
    def was_sent(self) -> bool:
        """Whether it was sent, so that it may have been committed if the connection was lost."""
        return self._sent

    @property
    def has_stored(self) -> bool:
        """Whether a statement of it was committed, so that it must be run to its end."""
        stored = zip(self._requests, self._outcomes, strict=True)
        return any((r.events or r.commands) and isinstance(o, Appended) for r, o in stored)

    @property
    def types(self) -> set[str]:
        """The aggregate types of the events it stored."""
        return types_of(zip(self._requests, self._outcomes, strict=True))

    async def run(self, connection: SchemaConnection) -> list[Outcome]:
        """Run until every request has an outcome, and return all outcomes.

        Once an answer was lost, a request may be refused because its own first attempt was committed after all. Then
        all its events are stored exactly as requested, and it counts as appended.
        """
        lost, self._sent = self._sent, True
        self._stored.clear()
        for part in _without_repeated_ids(self._requests):
            if self._is_in_transaction:
                await self._refuse_known(connection, part, lost=lost)  # their ids would fail the whole transaction
            for _ in range(_MAX_ROUNDS):
                missing = [number for number in part if self._outcomes[number] is None]
                if not missing:
                    break
                await self._round(connection, missing, lost=lost)
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        if len(outcomes) < len(self._requests):
            raise TransactionFailed("unexpected result of the append; were triggers or rules of the tables changed?")
        return outcomes

    async def _round(self, connection: SchemaConnection, numbers: Sequence[int], *, lost: bool) -> None:
        """Send these requests once; some may be left without an outcome, to be sent again."""
        requests = [self._requests[number] for number in numbers]
        if not any(request.events or request.commands for request in requests):
            rows = await connection.fetch(_SEQUENCES, *_aggregates(requests))  # needs no lock
            if self._must_wait(requests, rows):
                await wait_for_standby(connection)
        else:
            try:
                rows = await connection.fetch(
                    _APPEND,
                    *_columns(requests),
                    self._session,
                    *stamp_columns(request.expected_stamp for request in requests),
                    _fingerprints(requests),
                )
            except DRIVER_ERRORS as error:
                if not violates(error, "commands_key"):
                    raise
                await self._refuse_known(connection, numbers, lost=lost)
                return
            if not rows:
                raise await _why_nothing_was_locked(connection)
        refused: list[int] = []
        stored: list[tuple[AppendRequest, Outcome]] = []
        for number, request, row in zip(numbers, requests, rows, strict=True):
            kept, sequence, position = row[0], row[1], row[2]
            if kept:
                stamp = CommitStamp(request.events[-1].commit_id, row[5]) if request.events else stamp_of(*row[3:5])
                outcome = self._outcomes[number] = Appended(sequence, position, stamp)
                stored.append((request, outcome))
            elif request.events or request.commands:
                refused.append(number)
            else:
                stamp = stamp_of(*row[3:5])
                fits = _fits(request, sequence, stamp)
                self._outcomes[number] = Appended(sequence, position, stamp) if fits else Conflict(sequence)
        if stored and not lost:
            self._stored.append((stored, rows[0][5], stamp_of(*rows[0][6:8])))
        await self._refuse(connection, refused, {}, lost=lost)

    def _must_wait(self, requests: Sequence[AppendRequest], rows: Sequence[Row]) -> bool:
        """Return whether a request that was only checked confirms what perhaps only the primary has.

        An open transaction has locked the head, so its own commit waits.
        """
        if self._is_in_transaction:
            return False
        return any(
            request.confirms and sequence and is_awaited and _fits(request, sequence, stamp_of(*stamp))
            for request, (_, sequence, _, *stamp, is_awaited) in zip(requests, rows, strict=True)
        )

    async def _refuse_known(self, connection: SchemaConnection, numbers: Sequence[int], *, lost: bool) -> None:
        """Refuse the requests with recorded command ids, one of which made the whole statement fail."""
        ids = [command.command_id for number in numbers for command in self._requests[number].commands]
        if not ids:
            return
        known = {row[0] for row in await connection.fetch(_KNOWN, ids)}
        suspects = {
            number: found
            for number in numbers
            if (found := known.intersection(command.command_id for command in self._requests[number].commands))
        }
        await self._refuse(connection, list(suspects), suspects, lost=lost)

    async def _refuse(
        self, connection: SchemaConnection, numbers: Sequence[int], known: Mapping[int, set[str]], *, lost: bool
    ) -> None:
        """Set the outcomes of refused requests.

        A request whose expected sequence is right by now, without recorded command ids, is left to be sent again.
        """
        if not numbers:
            return
        rows = await connection.fetch(_SEQUENCES, *_aggregates([self._requests[number] for number in numbers]))
        for number, (_, sequence, _, *stamp, _) in zip(numbers, rows, strict=True):
            request = self._requests[number]
            if _fits(request, sequence, stamp_of(*stamp)):
                if number in known:
                    self._outcomes[number] = DuplicateCommand(frozenset(known[number]))
                continue
            stored = await _find_stored(connection, request) if lost else None
            self._outcomes[number] = stored or Conflict(sequence)


class SharedAttempt(AppendAttempt):
    """Carry out the append of one or several calls, whose requests are taken when the statement is sent."""

    def __init__(self, shipment: Shipment, session: str) -> None:
        """Start without requests."""
        super().__init__((), session)
        self._shipment = shipment

    async def run(self, connection: SchemaConnection) -> list[Outcome]:
        """Take the requests, unless that was done, and run until each has an outcome."""
        if not self.was_sent:
            self._requests = self._shipment.take()
            self._outcomes = [None] * len(self._requests)
        return await super().run(connection)


class WishToLeave(Exception):
    """A function of the caller wants to leave the program.

    Raised as it is, in the task that works on the connection, this would end the event loop there and then.

    Attributes:
        wish: What it raised, to be raised in the caller's own task.
    """

    def __init__(self, wish: SystemExit | KeyboardInterrupt) -> None:
        """Wrap what was raised."""
        super().__init__("the decision wants to leave the program")
        self.wish = wish


class ExclusiveAttempt(AppendAttempt):
    """Carry out one call of `read_and_append`; run again, it repeats the append of what was decided."""

    def __init__(self, reads: Sequence[StreamRead], decide: Decide, session: str) -> None:
        """Start without requests."""
        super().__init__((), session)
        self._reads = reads
        self._decide = decide

    async def run(self, connection: SchemaConnection) -> list[Outcome]:
        """Lock the head, read, decide and append in one transaction, and return the outcomes."""
        if self.was_sent:
            return await super().run(connection)
        try:
            async with connection.transaction():
                return await self._decide_and_append(connection)
        except BaseException:
            self._outcomes = [None] * len(self._requests)  # whatever the statements said, the commit is not known
            raise
        finally:
            self._is_in_transaction = False

    async def _decide_and_append(self, connection: SchemaConnection) -> list[Outcome]:
        if not await connection.fetch(_LOCK_HEAD, self._session):
            raise await _why_nothing_was_locked(connection)
        pages = await read_streams(connection, self._reads)
        try:
            self._requests = self._decide(pages)
        except (SystemExit, KeyboardInterrupt) as wish:
            raise WishToLeave(wish) from None
        self._outcomes = [None] * len(self._requests)
        self._is_in_transaction = True
        return await super().run(connection)


def stored_in_part(where: str) -> CommitOutcomeUnknown:
    """Return the error for appends that share an attempt which failed after its first statement."""
    return CommitOutcomeUnknown(
        f"appends that were sent to {where} together were stored only in part; send the command again with the same "
        "command_id"
    )


async def _why_nothing_was_locked(connection: SchemaConnection) -> Exception:
    if await connection.fetchval(_HAS_HEAD):
        return SessionChanged()
    return TransactionFailed("the table head has lost its row, so nothing was stored; restore a backup")


async def _find_stored(connection: SchemaConnection, request: AppendRequest) -> Appended | None:
    """Return the outcome of a request if all its events are stored exactly as requested, else None.

    The primary's word for it is not enough where commits wait for a standby.
    """
    first, last = request.expected_sequence, request.expected_sequence + len(request.events)
    rows = await connection.fetch(_STORED, request.aggregate_type, request.aggregate_id, first, last)
    same = len(rows) == len(request.events) > 0 and all(
        NewEvent(*row[:5]) == event for row, event in zip(rows, request.events, strict=True)
    )
    if not same:
        return None
    *_, commit_id, position, recorded_at, is_awaited = rows[-1]
    if is_awaited:
        await wait_for_standby(connection)
    return Appended(last, position, stamp_of(commit_id, recorded_at))


def _fits(request: AppendRequest, sequence: int, stamp: CommitStamp | None) -> bool:
    """Return whether an aggregate is where a request expects it."""
    return sequence == request.expected_sequence and request.expected_stamp in {None, stamp}


def _aggregates(requests: Sequence[AppendRequest]) -> tuple[list[str], list[str]]:
    return [request.aggregate_type for request in requests], [request.aggregate_id for request in requests]


def _columns(requests: Sequence[AppendRequest]) -> tuple[list[object], ...]:
    """Return the parameters of the statement: one list per column of requests, events and commands."""
    events = [
        (number, at, event) for number, request in enumerate(requests, 1) for at, event in enumerate(request.events, 1)
    ]
    commands = [(number, command) for number, request in enumerate(requests, 1) for command in request.commands]
    return (
        [request.aggregate_type for request in requests],
        [request.aggregate_id for request in requests],
        [request.expected_sequence for request in requests],
        [len(request.events) if request.events or request.commands else None for request in requests],
        [number for number, _, _ in events],
        [at for _, at, _ in events],
        [event.event_type for _, _, event in events],
        [event.event_version for _, _, event in events],
        [event.payload for _, _, event in events],
        [event.metadata for _, _, event in events],
        [event.commit_id for _, _, event in events],
        [number for number, _ in commands],
        [command.command_id for _, command in commands],
        [command.first_sequence for _, command in commands],
        [command.last_sequence for _, command in commands],
    )


def _fingerprints(requests: Sequence[AppendRequest]) -> list[str | None]:
    return [command.fingerprint for request in requests for command in request.commands]


def _without_repeated_ids(requests: Sequence[AppendRequest]) -> list[list[int]]:
    """Split the requests wherever a command id repeats, so that the id is recorded before the later one is sent."""
    parts: list[list[int]] = [[]]
    seen: set[str] = set()
    for number, request in enumerate(requests):
        ids = {command.command_id for command in request.commands}
        if not seen.isdisjoint(ids):
            parts.append([])
            seen.clear()
        seen |= ids
        parts[-1].append(number)
    return parts
