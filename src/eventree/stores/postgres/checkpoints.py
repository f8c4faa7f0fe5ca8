"""Checkpoints: statements in their own transaction, or within that of a projection."""

from collections.abc import Sequence
from typing import Any, Final

from eventree.errors import CheckpointFenced, CheckpointHeld, LogRolledBack
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    ParkedCommit,
    QuerySummary,
    RequestAnswer,
    StoredCheckpoint,
    StoredFailure,
    StoredStop,
)
from eventree.stores.contract.checkpoints import NEARLY
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, violates
from eventree.stores.postgres.reads import stamp_of
from eventree.stores.renewals import Renewal
from eventree.stores.versions import VersionRow, decide_make_live

# Names are qualified, because the search path of a projection's connection is the user's. Leases expire by the server's
# clock, read while the row is locked. A new checkpoint starts no later than the live version, so that no event is
# missed in between, and the first version is live. An existing one is updated only if its lease has expired or has the
# same owner; otherwise no row is returned.
_CLAIM: Final = """
INSERT INTO {schema}.checkpoints AS c (name, version, position, fencing_token, owner, lease_until, lease_length, live)
VALUES ($1, $2, least(coalesce($3, (SELECT position FROM {schema}.head WHERE id)),
                      (SELECT position FROM {schema}.checkpoints WHERE name = $1 AND live)), 1, $4,
        clock_timestamp() + $5 * interval '1 second', $5 * interval '1 second',
        NOT EXISTS (SELECT FROM {schema}.checkpoints WHERE name = $1))
ON CONFLICT (name, version) DO UPDATE
SET fencing_token = c.fencing_token + 1, owner = excluded.owner,
  lease_until = clock_timestamp() + excluded.lease_length, lease_length = excluded.lease_length,
  stop_kind = NULL, stop_reason = NULL
WHERE c.lease_until <= clock_timestamp() OR c.owner = excluded.owner
RETURNING position, fencing_token, commit_id, recorded_at
"""
_HOLDER: Final = """
SELECT owner, extract(epoch FROM least(lease_until - clock_timestamp(), lease_length))::float8
FROM {schema}.checkpoints WHERE name = $1 AND version = $2
"""
# A lease lasts longer than it was given for only if the server's clock was ahead when it was written.
_SHORTEN: Final = """
UPDATE {schema}.checkpoints SET lease_until = clock_timestamp() + lease_length
WHERE lease_until - lease_length > clock_timestamp()
"""
_SAVE: Final = """
UPDATE {schema}.checkpoints SET position = $3, commit_id = $8, recorded_at = $9, skipped = skipped + $5,
  replay_until = CASE WHEN $7::bigint > 0 THEN $7 ELSE replay_until END,
  lease_until = CASE WHEN $6::float8 > 0 THEN clock_timestamp() + $6 * interval '1 second' ELSE lease_until END,
  lease_length = CASE WHEN $6 > 0 THEN $6 * interval '1 second' ELSE lease_length END,
  failed_position = $11, failed_attempts = $12, failed_reason = $13, failed_at = $14,
  paused = coalesce($15::boolean, paused)
WHERE name = $1 AND version = $2 AND fencing_token = $4 AND position = coalesce($10::bigint, position)
  AND ($8::uuid IS NULL OR EXISTS (
    SELECT FROM {schema}.events e WHERE e.position = $3 AND e.commit_id = $8 AND e.recorded_at = $9::timestamptz))
RETURNING fencing_token
"""
_REFUSED: Final = """
SELECT c.position, h.position FROM {schema}.checkpoints c, {schema}.head h
WHERE c.name = $1 AND c.version = $2 AND c.fencing_token = $3 AND h.id
"""
_SAVE_ALL: Final = (
    f"WITH moved AS ({_SAVE}),"  # noqa: S608 - our own text
    """
unparked AS (
  DELETE FROM {schema}.parked USING moved WHERE name = $1 AND version = $2 AND position = ANY($16::bigint[])),
answered AS (
  UPDATE {schema}.query_requests r
  SET answered_at = clock_timestamp(), result = a.result, error = a.error, detail = a.detail
  FROM moved, unnest($17::uuid[], $18::bigint[], $19::text[], $20::text[]) a (id, result, error, detail)
  WHERE r.id = a.id AND r.name = $1 AND r.version = $2 AND r.answered_at IS NULL),
parked AS (
  INSERT INTO {schema}.parked SELECT $1, $2, p.* FROM moved,
    unnest($21::bigint[], $22::bigint[], $23::text[], $24::text[], $25::text[], $26::timestamptz[]) p
  ON CONFLICT (name, version, position) DO UPDATE
  SET last_position = excluded.last_position, aggregate_type = excluded.aggregate_type,
    aggregate_id = excluded.aggregate_id, reason = excluded.reason, parked_at = excluded.parked_at)
SELECT fencing_token FROM moved
"""
)
_VERSIONS: Final = """
SELECT version, position, fencing_token, replay_until, live, lease_until > clock_timestamp()
FROM {schema}.checkpoints WHERE name = $1
ORDER BY version FOR UPDATE
"""
_RETIRE: Final = """
UPDATE {schema}.checkpoints SET live = false, fencing_token = fencing_token + 1, lease_until = clock_timestamp()
WHERE name = $1 AND live AND version <> $2
"""
_MAKE_LIVE: Final = """
UPDATE {schema}.checkpoints SET live = true, replay_until = $3 WHERE name = $1 AND version = $2
"""
_RENEW: Final = """
UPDATE {schema}.checkpoints c
SET lease_until = clock_timestamp() + r.seconds * interval '1 second', lease_length = r.seconds * interval '1 second'
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::float8[]) r (name, version, fencing_token, seconds)
WHERE c.name = r.name AND c.version = r.version AND c.fencing_token = r.fencing_token
RETURNING c.name, c.version, c.fencing_token
"""
_STOP: Final = """
UPDATE {schema}.checkpoints SET stop_kind = $4, stop_reason = $5, lease_until = clock_timestamp()
WHERE name = $1 AND version = $2 AND owner = $3 RETURNING fencing_token
"""
_LOAD: Final = """
SELECT c.position, c.fencing_token, c.owner,
       (SELECT count(*) FROM {schema}.parked p WHERE p.name = c.name AND p.version = c.version),
       c.skipped, c.replay_until, coalesce(live.version, 0), coalesce(live.position, 0),
       (SELECT coalesce(max(n.version), 0) FROM {schema}.checkpoints n WHERE n.name = c.name AND n.version > c.version
         AND n.lease_until > clock_timestamp() AND n.lease_until - n.lease_length <= clock_timestamp()
         AND n.position + $3 >= c.position),
       c.paused, c.failed_position, c.failed_attempts, c.failed_reason, c.failed_at, c.stop_kind, c.stop_reason,
       (SELECT count(*) FROM {schema}.query_requests r
        WHERE r.name = c.name AND r.version = c.version AND r.answered_at IS NULL),
       greatest(extract(epoch FROM least(c.lease_until - clock_timestamp(), c.lease_length))::float8, 0)
FROM {schema}.checkpoints c LEFT JOIN {schema}.checkpoints live ON live.name = c.name AND live.live
WHERE c.name = $1 AND c.version = $2
"""
_PARKED: Final = """
SELECT position, last_position, aggregate_type, aggregate_id, reason, parked_at
FROM {schema}.parked WHERE name = $1 AND version = $2 AND position > $3 ORDER BY position LIMIT $4
"""
_QUERIES: Final = """
SELECT name, version, position, fencing_token, owner,
       greatest(extract(epoch FROM least(lease_until - clock_timestamp(), lease_length))::float8, 0), live,
       (SELECT count(*) FROM {schema}.parked p WHERE p.name = c.name AND p.version = c.version), skipped, replay_until
FROM {schema}.checkpoints c ORDER BY name, version
"""


class CheckpointTable:
    """Read and write the checkpoints of one schema; each method runs on the connection passed to it."""

    def __init__(self, schema: str) -> None:
        """Prepare the statements for a schema, given as a quoted name."""
        self._claim = _CLAIM.format(schema=schema)
        self._holder = _HOLDER.format(schema=schema)
        self._shorten = _SHORTEN.format(schema=schema)
        self._save = _SAVE.format(schema=schema)
        self._refused = _REFUSED.format(schema=schema)
        self._save_all = _SAVE_ALL.format(schema=schema)
        self._versions = _VERSIONS.format(schema=schema)
        self._retire = _RETIRE.format(schema=schema)
        self._make_live = _MAKE_LIVE.format(schema=schema)
        self._renew = _RENEW.format(schema=schema)
        self._stop = _STOP.format(schema=schema)
        self._load = _LOAD.format(schema=schema)
        self._parked = _PARKED.format(schema=schema)
        self._queries = _QUERIES.format(schema=schema)

    async def claim(self, db: Connection, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        """Claim a checkpoint; raise `CheckpointHeld` if another worker holds the lease."""
        while True:
            try:
                # Within a projection's transaction this is a savepoint, so that a failure leaves the rest intact.
                async with db.transaction():
                    rows = await db.fetch(self._claim, name, version, lease.start, lease.owner, float(lease.seconds))
            except DRIVER_ERRORS as error:  # if two first versions are created at once, only one becomes live
                if not violates(error, "one_version_is_live"):
                    raise
                continue
            if rows:
                position, fencing_token, commit_id, recorded_at = rows[0]
                stamp = stamp_of(commit_id, recorded_at)
                return Checkpoint(position, fencing_token, stamp)
            [(owner, seconds)] = await db.fetch(self._holder, name, version)
            if seconds > 0:  # otherwise the lease has just expired, so claim again
                await self.shorten_overlong_leases(db)
                raise CheckpointHeld(name, owner, seconds)

    async def shorten_overlong_leases(self, db: Connection) -> None:
        """Let leases that were written while the server's clock was ahead end in as much time as they were given for.

        Otherwise a lease written an hour ahead of the corrected clock would keep others out for an hour. Its holder, if
        it is alive, renews it in time.
        """
        await db.execute(self._shorten)

    async def save(self, db: Connection, name: str, version: int, update: CheckpointUpdate) -> None:
        """Apply an update to a checkpoint.

        Raises:
            CheckpointFenced: Another worker has claimed it.
            LogRolledBack: The checkpoint or the log has gone back in time.
        """
        moved, stamp = update.checkpoint, update.checkpoint.stamp or (None, None)
        place = (name, version, moved.position, moved.fencing_token)
        values = (*place, update.skipped, float(update.seconds), update.replay_until, *stamp, update.moved_from)
        values = (*values, *_failure_columns(update.failure), update.paused)
        if update.park or update.unpark or update.answers:
            lists = (list(update.unpark), *_answer_columns(update.answers), *_columns(update))
            rows = await db.fetch(self._save_all, *values, *lists)
        else:
            rows = await db.fetch(self._save, *values)
        if not rows:
            raise await self._refusal(db, name, version, update)

    async def _refusal(
        self, db: Connection, name: str, version: int, update: CheckpointUpdate
    ) -> CheckpointFenced | LogRolledBack:
        rows = await db.fetch(self._refused, name, version, update.checkpoint.fencing_token)
        if not rows:
            return CheckpointFenced(name, update.checkpoint.fencing_token)
        position, head = rows[0]
        if update.moved_from not in {None, position}:
            return LogRolledBack(f"query {name!r}", update.moved_from or 0, position)
        return LogRolledBack(f"query {name!r}", update.checkpoint.position, head)

    async def make_live(self, db: Connection, name: str, version: int, fencing_token: int) -> bool:
        """Make a version the live one, if it may be; raise `CheckpointFenced` if another worker has claimed it."""
        async with db.transaction():
            await self.shorten_overlong_leases(db)  # the lease of the version that is live counts
            rows = [VersionRow(*row) for row in await db.fetch(self._versions, name)]
            replay_until = decide_make_live(name, rows, version, fencing_token)
            if replay_until is None:
                return False
            await db.execute(self._retire, name, version)
            await db.execute(self._make_live, name, version, replay_until)
            return True

    async def renew_all(self, db: Connection, renewals: Sequence[Renewal]) -> list[bool]:
        """Renew leases; return for each whether the fencing token is still the newest."""
        last = {renewal[:3]: float(renewal.seconds) for renewal in renewals}  # of two for one lease, the later one
        columns = [[key[at] for key in last] for at in range(3)]
        kept = {tuple(row) for row in await db.fetch(self._renew, *columns, list(last.values()))}
        return [renewal[:3] in kept for renewal in renewals]

    async def stop(self, db: Connection, name: str, version: int, owner: str, reported: StoredStop) -> bool:
        """Report that a worker lets go of a query; return whether it was the last to claim it."""
        return bool(await db.fetch(self._stop, name, version, owner, reported.kind, reported.reason))

    async def load(self, db: Connection, name: str, version: int) -> StoredCheckpoint | None:
        """Return everything stored about a checkpoint; None if it does not exist."""
        for position, fencing_token, *rest in await db.fetch(self._load, name, version, NEARLY):
            paused, failed_position, attempts, reason, failed_at, stop_kind, stop_reason, waiting, seconds = rest[7:]
            failure = None if attempts is None else StoredFailure(failed_position, attempts, reason, failed_at)
            stop = None if stop_kind is None else StoredStop(stop_kind, stop_reason)
            fields: list[Any] = [*rest[:7], paused, failure, stop, waiting, seconds]
            return StoredCheckpoint(Checkpoint(position, fencing_token), *fields)
        return None

    async def load_parked(self, db: Connection, name: str, version: int, after: int, limit: int) -> list[ParkedCommit]:
        """Return a page of parked commits."""
        return [ParkedCommit(*row) for row in await db.fetch(self._parked, name, version, after, limit)]

    async def list_queries(self, db: Connection) -> list[QuerySummary]:
        """Return every version of every query, in order."""
        return [
            QuerySummary(name, version, Checkpoint(position, fencing_token), *rest)
            for name, version, position, fencing_token, *rest in await db.fetch(self._queries)
        ]


def _failure_columns(failure: StoredFailure | None) -> tuple[object, ...]:
    if failure is None:
        return (None, None, None, None)
    return (failure.position, failure.attempts, failure.reason, failure.failed_at)


def _answer_columns(answers: Sequence[RequestAnswer]) -> tuple[list[object], ...]:
    return (
        [answer.id for answer in answers],
        [answer.result for answer in answers],
        [answer.error for answer in answers],
        [answer.detail for answer in answers],
    )


def _columns(update: CheckpointUpdate) -> tuple[list[object], ...]:
    return (
        [parked.position for parked in update.park],
        [parked.last_position for parked in update.park],
        [parked.aggregate_type for parked in update.park],
        [parked.aggregate_id for parked in update.park],
        [parked.reason for parked in update.park],
        [parked.parked_at for parked in update.park],
    )
