"""The append as one plain statement, repeated until every request of a call has its outcome."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from eventree.errors import TransactionFailed
from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, NewEvent, Outcome
from eventree.stores.live import types_of
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, violates

# The lock on the head comes first, because everything else is joined to it. READ COMMITTED re-evaluates an UPDATE on
# the newest row, so a request that lost a race drops out of `kept`. A request that only checks has no n; it is checked
# against the snapshot of this statement, which is as recent as the call. LATERAL with LIMIT forces an index lookup per
# row, whatever the planner assumes about table sizes, which it may not know yet. All events get the same time, taken
# under the lock.
_APPEND: Final = """
WITH locked AS MATERIALIZED (SELECT position FROM head WHERE id LIMIT 1 FOR UPDATE),
clock AS MATERIALIZED (SELECT clock_timestamp() AS now FROM locked),
wanted AS MATERIALIZED (
  SELECT r.* FROM locked, unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
    WITH ORDINALITY r (aggregate_type, aggregate_id, expected, n, number)),
created AS (
  INSERT INTO streams (aggregate_type, aggregate_id, sequence)
  SELECT aggregate_type, aggregate_id, n FROM wanted WHERE expected = 0 AND n >= 0
  ON CONFLICT (aggregate_type, aggregate_id) DO NOTHING
  RETURNING stream, aggregate_type, aggregate_id, sequence),
advanced AS (
  UPDATE streams s SET sequence = s.sequence + w.n FROM wanted w
  WHERE s.aggregate_type = w.aggregate_type AND s.aggregate_id = w.aggregate_id AND s.sequence = w.expected
    AND w.n >= 0
  RETURNING s.stream, s.aggregate_type, s.aggregate_id, s.sequence),
kept AS MATERIALIZED (
  SELECT k.stream, k.sequence, w.number, w.n, locked.position + (sum(w.n) OVER (ORDER BY w.number))::bigint AS position
  FROM (SELECT * FROM created UNION ALL SELECT * FROM advanced) k
  JOIN wanted w ON w.aggregate_type = k.aggregate_type AND w.aggregate_id = k.aggregate_id, locked),
stored AS (
  INSERT INTO events (position, stream, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at)
  SELECT k.position - k.n + e.at, k.stream, k.sequence - k.n + e.at,
         e.event_type, e.event_version, e.payload, e.metadata, e.commit_id, (SELECT now FROM clock)
  FROM kept k JOIN unnest($5::bigint[], $6::bigint[], $7::text[], $8::int[], $9::json[], $10::json[], $11::uuid[])
    e (number, at, event_type, event_version, payload, metadata, commit_id) ON e.number = k.number),
recorded AS (
  INSERT INTO commands (command_id, stream, first_sequence, last_sequence)
  SELECT c.command_id, k.stream, c.first_sequence, c.last_sequence
  FROM kept k JOIN unnest($12::bigint[], $13::text[], $14::bigint[], $15::bigint[])
    c (number, command_id, first_sequence, last_sequence) ON c.number = k.number),
moved AS (
  UPDATE head SET position = (SELECT max(position) FROM kept) WHERE id AND EXISTS (SELECT FROM kept WHERE n > 0))
SELECT k.stream IS NOT NULL, coalesce(k.sequence, s.sequence, 0),
       CASE WHEN k.n > 0 THEN k.position ELSE coalesce(e.position, 0) END, (SELECT now FROM clock)
FROM wanted w LEFT JOIN kept k USING (number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM streams s WHERE coalesce(w.n, 0) = 0
    AND s.aggregate_type = w.aggregate_type AND s.aggregate_id = w.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position FROM events e WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) e ON true
ORDER BY w.number
"""
_SEQUENCES: Final = """
SELECT false, coalesce(s.sequence, 0), coalesce(e.position, 0), NULL
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY r (aggregate_type, aggregate_id, number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM streams s
  WHERE s.aggregate_type = r.aggregate_type AND s.aggregate_id = r.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position FROM events e WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) e ON true
ORDER BY r.number
"""
_STORED: Final = """
SELECT position, event_type, event_version, payload, metadata, commit_id FROM events
WHERE stream = (SELECT stream FROM streams WHERE aggregate_type = $1 AND aggregate_id = $2)
  AND sequence > $3 AND sequence <= $4 ORDER BY sequence
"""
_KNOWN: Final = "SELECT command_id FROM commands WHERE command_id = ANY($1::text[])"

_MAX_ROUNDS = 16
"""How often requests without an outcome are sent again before the append fails."""

Stored: TypeAlias = tuple[Sequence[tuple[AppendRequest, Outcome]], datetime]
"""The requests stored by one statement, with their outcomes, and the time of their events."""


class AppendAttempt:
    """Carry out one call of `append`; it can be run again on another connection if the first one was lost."""

    def __init__(self, requests: Sequence[AppendRequest]) -> None:
        """Start without outcomes."""
        self._requests = requests
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
    def types(self) -> set[str]:
        """The aggregate types of the events it stored."""
        return types_of(zip(self._requests, self._outcomes, strict=True))

    async def run(self, connection: Connection) -> list[Outcome]:
        """Run until every request has an outcome, and return all outcomes.

        Once an answer was lost, a request may be refused because its own first attempt was committed after all. Then
        all its events are stored exactly as requested, and it counts as appended.
        """
        lost, self._sent = self._sent, True
        self._stored.clear()
        for part in _without_repeated_ids(self._requests):
            for _ in range(_MAX_ROUNDS):
                missing = [number for number in part if self._outcomes[number] is None]
                if not missing:
                    break
                await self._round(connection, missing, lost=lost)
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        if len(outcomes) < len(self._requests):
            raise TransactionFailed("unexpected result of the append; were triggers or rules of the tables changed?")
        return outcomes

    async def _round(self, connection: Connection, numbers: Sequence[int], *, lost: bool) -> None:
        """Send these requests once; some may be left without an outcome, to be sent again."""
        requests = [self._requests[number] for number in numbers]
        if not any(request.events or request.commands for request in requests):
            rows = await connection.fetch(_SEQUENCES, *_aggregates(requests))  # needs no lock
        else:
            try:
                rows = await connection.fetch(_APPEND, *_columns(requests))
            except DRIVER_ERRORS as error:
                if not violates(error, "commands_key"):
                    raise
                await self._refuse_known(connection, numbers, lost=lost)
                return
        refused: list[int] = []
        stored: list[tuple[AppendRequest, Outcome]] = []
        for number, request, (kept, sequence, position, _) in zip(numbers, requests, rows, strict=True):
            if kept:
                outcome = self._outcomes[number] = Appended(sequence, position)
                stored.append((request, outcome))
            elif request.events or request.commands:
                refused.append(number)
            else:
                fits = sequence == request.expected_sequence
                self._outcomes[number] = Appended(sequence, position) if fits else Conflict(sequence)
        if stored and not lost:
            self._stored.append((stored, rows[0][3]))
        await self._refuse(connection, refused, {}, lost=lost)

    async def _refuse_known(self, connection: Connection, numbers: Sequence[int], *, lost: bool) -> None:
        """Refuse the requests with recorded command ids, one of which made the whole statement fail."""
        ids = [command.command_id for number in numbers for command in self._requests[number].commands]
        known = {row[0] for row in await connection.fetch(_KNOWN, ids)}
        suspects = {
            number: found
            for number in numbers
            if (found := known.intersection(command.command_id for command in self._requests[number].commands))
        }
        await self._refuse(connection, list(suspects), suspects, lost=lost)

    async def _refuse(
        self, connection: Connection, numbers: Sequence[int], known: Mapping[int, set[str]], *, lost: bool
    ) -> None:
        """Set the outcomes of refused requests.

        A request whose expected sequence is right by now, without recorded command ids, is left to be sent again.
        """
        if not numbers:
            return
        rows = await connection.fetch(_SEQUENCES, *_aggregates([self._requests[number] for number in numbers]))
        for number, (_, sequence, *_) in zip(numbers, rows, strict=True):
            request = self._requests[number]
            if sequence == request.expected_sequence:
                if number in known:
                    self._outcomes[number] = DuplicateCommand(frozenset(known[number]))
                continue
            position = await _position_if_stored(connection, request) if lost else 0
            last = request.expected_sequence + len(request.events)
            self._outcomes[number] = Appended(last, position) if position else Conflict(sequence)


async def _position_if_stored(connection: Connection, request: AppendRequest) -> int:
    """Return the position of a request's last event if all its events are stored exactly as requested, else 0."""
    first, last = request.expected_sequence, request.expected_sequence + len(request.events)
    rows = await connection.fetch(_STORED, request.aggregate_type, request.aggregate_id, first, last)
    same = len(rows) == len(request.events) > 0 and all(
        NewEvent(*row[1:]) == event for row, event in zip(rows, request.events, strict=True)
    )
    return int(rows[-1][0]) if same else 0


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
