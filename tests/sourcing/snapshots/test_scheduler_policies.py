"""Snapshot policies of a user's own."""

import logging
from typing import Any

import pytest

from eventree import EventSourcing, EventStore, InvalidArgument, MemoryStore, Ok, SnapshotConfig
from eventree.domain import SnapshotPolicy
from sourcing.ledger import Boom, add, ledger
from sourcing.waiting import nothing_to_write, written


class Sparse:
    """Take a snapshot at 2, 4, 8, 16 and so on: long streams need few."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def is_due(self, before: int, after: int, replay_seconds: float) -> bool:
        assert replay_seconds >= 0
        self.asked.append((before, after))
        return after >= 2 * max(before, 1)


class Broken:
    def is_due(self, before: int, after: int, replay_seconds: float) -> bool:
        raise Boom("a bug")


async def test_a_policy_of_ones_own_decides_when_a_snapshot_is_taken(store: EventStore) -> None:
    policy = Sparse()
    async with EventSourcing(ledger, store, snapshots=policy) as system:
        for number in range(9):
            await system.execute("a", add(number))
        await written(system, 3)
        snapshot = (await system.latest_snapshot("a")).unwrap()
    assert snapshot is not None
    assert snapshot.sequence == 8
    assert policy.asked == [(0, 1), (0, 2), (2, 3), (2, 4), (4, 5), (4, 6), (4, 7), (4, 8), (8, 9)]


async def test_a_policy_that_raises_fails_no_command_and_is_logged(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with EventSourcing(ledger, store, snapshots=Broken()) as system:
        with caplog.at_level(logging.WARNING, logger="eventree"):
            assert isinstance(await system.execute("a", add(1)), Ok)
            assert isinstance(await system.execute("a", add(2)), Ok)
        await nothing_to_write(system)
        stats = await system.system_stats()
        assert await system.latest_snapshot("a") == Ok(None)
    assert (stats.snapshots_written, stats.snapshots_dropped, stats.actor_restarts) == (0, 2, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "ledger 'a': no snapshot taken at sequence 1: Boom: a bug",
        "ledger 'a': no snapshot taken at sequence 2: Boom: a bug",
    ]


class Asynchronous:
    async def is_due(self, before: int, after: int, replay_seconds: float) -> bool:
        return True


class Named:
    is_due = True


class TakesTwo:
    def is_due(self, before: int, after: int) -> bool:
        return True


@pytest.mark.parametrize("policy", [10, Sparse, SnapshotConfig, Asynchronous(), Named(), TakesTwo(), lambda *_: True])
def test_what_is_no_policy_is_refused(policy: Any) -> None:
    with pytest.raises(InvalidArgument, match="snapshots: must be a SnapshotConfig"):
        EventSourcing(ledger, MemoryStore(), snapshots=policy)


def test_a_config_is_a_policy() -> None:
    policy: SnapshotPolicy = SnapshotConfig(frequency=1)
    assert policy.is_due(0, 1, 0.0)
