"""How far queries have read: each one statement, in a transaction of its own or of a projection."""

from typing import Final

from eventree.errors import CheckpointFenced, CheckpointHeld
from eventree.stores.contract import Checkpoint, Claim, Move, ParkedCommit, StoredCheckpoint
from eventree.stores.postgres.driver import Connection

# A lease is judged by the server's clock at the moment when the row is locked.
_CLAIM: Final = """
INSERT INTO checkpoints (name, version, position, fence, owner, lease_until)
VALUES ($1, $2, coalesce($3, (SELECT position FROM head WHERE id)), 1, $4,
        clock_timestamp() + $5 * interval '1 second')
ON CONFLICT (name, version) DO UPDATE
SET fence = checkpoints.fence + 1, owner = excluded.owner, lease_until = clock_timestamp() + $5 * interval '1 second'
WHERE checkpoints.lease_until <= clock_timestamp() OR checkpoints.owner = excluded.owner
RETURNING position, fence
"""
_HOLDER: Final = """
SELECT owner, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM checkpoints
WHERE name = $1 AND version = $2
"""
_MOVE: Final = """
UPDATE checkpoints SET position = $3, skipped = skipped + $5,
  lease_until = CASE WHEN $6::float8 > 0 THEN clock_timestamp() + $6 * interval '1 second' ELSE lease_until END
WHERE name = $1 AND version = $2 AND fence = $4 RETURNING fence
"""
_MOVE_AND_PARK: Final = (
    f"WITH moved AS ({_MOVE}),"  # noqa: S608 - our own text
    """
unparked AS (
  DELETE FROM parked USING moved WHERE name = $1 AND version = $2 AND position = ANY($7::bigint[])),
parked AS (
  INSERT INTO parked SELECT $1, $2, p.* FROM moved,
    unnest($8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::timestamptz[]) p
  ON CONFLICT (name, version, position) DO UPDATE SET reason = excluded.reason, parked_at = excluded.parked_at)
SELECT fence FROM moved
"""
)
_RELEASE: Final = """
UPDATE checkpoints SET lease_until = clock_timestamp() WHERE name = $1 AND version = $2 AND fence = $3
"""
_LOAD: Final = """
SELECT position, fence, owner, (SELECT count(*) FROM parked p WHERE p.name = c.name AND p.version = c.version),
       skipped, live
FROM checkpoints c WHERE name = $1 AND version = $2
"""
_PARKED: Final = """
SELECT position, last_position, aggregate_type, aggregate_id, reason, parked_at
FROM parked WHERE name = $1 AND version = $2 AND position > $3 ORDER BY position LIMIT $4
"""


async def claim(db: Connection, name: str, version: int, claim: Claim) -> Checkpoint:
    """Take a checkpoint over; raises `CheckpointHeld`."""
    while True:
        rows = await db.fetch(_CLAIM, name, version, claim.start, claim.owner, float(claim.seconds))
        if rows:
            return Checkpoint(*rows[0])
        [(owner, seconds)] = await db.fetch(_HOLDER, name, version)
        if seconds > 0:  # else its time has ended just now
            raise CheckpointHeld(name, owner, seconds)


async def move(db: Connection, name: str, version: int, move: Move) -> None:
    """Move a checkpoint with all that belongs to it; raises `CheckpointFenced`."""
    checkpoint = move.checkpoint
    values = (name, version, checkpoint.position, checkpoint.fence, move.skipped, float(move.seconds))
    if move.park or move.unpark:
        rows = await db.fetch(_MOVE_AND_PARK, *values, list(move.unpark), *_columns(move))
    else:
        rows = await db.fetch(_MOVE, *values)
    if not rows:
        raise CheckpointFenced(name, checkpoint.fence)


async def release(db: Connection, name: str, version: int, fence: int) -> None:
    """Let others take a checkpoint over at once."""
    await db.execute(_RELEASE, name, version, fence)


async def load(db: Connection, name: str, version: int) -> StoredCheckpoint | None:
    """Return all that is stored of a checkpoint."""
    for position, fence, *rest in await db.fetch(_LOAD, name, version):
        return StoredCheckpoint(Checkpoint(position, fence), *rest)
    return None


async def load_parked(db: Connection, name: str, version: int, after: int, limit: int) -> list[ParkedCommit]:
    """Return a page of parked commits."""
    return [ParkedCommit(*row) for row in await db.fetch(_PARKED, name, version, after, limit)]


def _columns(move: Move) -> tuple[list[object], ...]:
    return (
        [parked.position for parked in move.park],
        [parked.last_position for parked in move.park],
        [parked.aggregate_type for parked in move.park],
        [parked.aggregate_id for parked in move.park],
        [parked.reason for parked in move.park],
        [parked.parked_at for parked in move.park],
    )
