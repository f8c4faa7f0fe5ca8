"""Decide whether a version of a query may go live, by the same rule in all stores."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventree.errors import CheckpointFenced


@dataclass(frozen=True, slots=True)
class VersionRow:
    """Hold the state of one version of a query, as far as `decide_make_live` needs it."""

    version: int
    position: int
    fencing_token: int
    replay_until: int
    is_live: bool
    is_leased: bool


def decide_make_live(name: str, rows: Sequence[VersionRow], version: int, fencing_token: int) -> int | None:
    """Return the `replay_until` of a version that is live or may go live now; None if it may not.

    Args:
        name: The query.
        rows: All its versions, locked by the caller.
        version: The version that wants to go live.
        fencing_token: The token of its worker.

    Raises:
        CheckpointFenced: Another worker has claimed this version since.
    """
    own = next((row for row in rows if row.version == version), None)
    if own is None or own.fencing_token != fencing_token:
        raise CheckpointFenced(name, fencing_token)
    live = [row for row in rows if row.is_live]
    if any(row.version > version or row.position > own.position for row in live):
        return None
    others = [row for row in live if row is not own]
    if any(row.is_leased for row in others):
        return None
    return max([own.replay_until, *(max(row.position, row.replay_until) for row in others)])
