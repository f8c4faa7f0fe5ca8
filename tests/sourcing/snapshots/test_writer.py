"""Snapshots are written beside the commands, which neither wait for them nor fail with them."""

import asyncio
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from eventree import AggregateType, EventSourcing, EventStore, Ok, SnapshotConfig, StoreUnavailable
from eventree.errors import StoreBusy
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.testing import FailingStore, settled
from sourcing.ledger import Added, LedgerSystem, LedgerType, add, add_length, ledger
from sourcing.waiting import written

EVERY_TEN = SnapshotConfig(frequency=10)


def system_on(store: EventStore, kind: LedgerType = ledger) -> LedgerSystem:
    return EventSourcing(kind, store, snapshots=EVERY_TEN)


async def test_a_command_never_waits_for_a_snapshot() -> None:
    async with FailingStore() as store, system_on(store) as system:
        gate = store.hold("save_snapshots")
        assert isinstance(await system.execute("a", add(*range(10))), Ok)
        await gate.reached()
        assert (await system.execute("a", add_length)).unwrap().events == (Added(10),)
        assert (await system.system_stats()).snapshots_written == 0
        gate.open()
        await written(system, 1)


async def test_snapshots_that_the_writer_has_no_room_for_are_not_even_encoded_and_counted() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=1)) as system:
        gate = store.hold("save_snapshots")
        await system.execute("first", add(1))
        await gate.reached()
        with patch.object(SnapshotCodec, "encode", autospec=True, side_effect=SnapshotCodec.encode) as encode:
            await system.execute_many([(f"a{number}", add(1)) for number in range(300)])
        assert (await system.system_stats()).snapshots_dropped == 300 - 256
        assert encode.call_count == 256
        gate.open()
        await written(system, 257)


async def test_a_snapshot_that_cannot_be_saved_is_dropped_and_counted() -> None:
    async with FailingStore() as store, system_on(store) as system:
        store.fail("save_snapshots", StoreUnavailable("away"))
        await system.execute("a", add(*range(10)))
        await system.execute("a", add(*range(10)))
        await written(system, 1)
        stats = await system.system_stats()
        assert (stats.snapshots_written, stats.snapshots_dropped, stats.actor_restarts) == (1, 1, 0)


async def test_a_state_too_large_for_a_snapshot_is_dropped_and_counted(store: EventStore) -> None:
    async with EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=1)) as system:
        commit = (await system.execute("a", add(*[10**4_000] * 270))).unwrap()
        stats = await system.system_stats()
        assert (commit.sequence, stats.snapshots_dropped, stats.snapshots_written) == (270, 1, 0)


@dataclass
class Sealed:
    secret: int = 0

    def __getattribute__(self, name: str) -> object:
        if name == "secret":
            raise PermissionError(name)
        return super().__getattribute__(name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_state_that_cannot_even_be_looked_at_costs_a_snapshot_and_never_the_command(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    sealed: AggregateType[Any, Any, Any, Any] = AggregateType(
        "x", handle=lambda _, __: Ok([Added(1)]), apply=lambda state, _: state, empty_state=Sealed, events=[Added],
        state=[Sealed],
    )  # fmt: skip
    async with EventSourcing(sealed, store, snapshots=SnapshotConfig(frequency=1)) as system:
        assert isinstance(await system.execute("a", "add"), Ok)
        stats = await system.system_stats()
        assert (stats.snapshots_dropped, stats.commands_failed, stats.actor_restarts) == (1, 0, 0)
    assert "x 'a': no snapshot taken at sequence 1: EventNotEncodable: " in caplog.text
    assert "PermissionError: secret" in caplog.text


async def test_a_store_that_can_write_no_snapshots_at_all_keeps_no_command_from_being_executed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=1)) as system:
        store.fail("save_snapshots", TypeError("a bug"), times=10)
        for number in range(10):
            assert isinstance(await system.execute("a", add(number)), Ok)
            await settled(system)
        stats = await system.system_stats()
        assert (stats.snapshots_dropped, stats.snapshots_written, stats.actor_restarts) == (10, 0, 0)
        assert "1 snapshots were not written: TypeError: a bug" in caplog.text
        await system.execute("a", add(10))
        await written(system, 1)


async def test_large_snapshots_are_written_in_several_transactions_so_that_commands_come_in_between() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=1)) as system:
        gate = store.hold("save_snapshots")
        await system.execute("small", add(1))
        await gate.reached()
        for id in "abcdefg":
            await system.execute(id, add(*[10**4_000] * 100))
        gate.open()
        await written(system, 8)
        assert store.calls["save_snapshots"] == 1 + 3  # 400 kB each
        for id in "abcdefg":
            assert (await system.latest_snapshot(id)).unwrap() is not None


async def sequences(store: EventStore, *ids: str) -> list[int]:
    """Return the sequence of the newest snapshot of each aggregate, 0 if it has none."""
    found = [(await system_on(store).latest_snapshot(id)).unwrap() for id in ids]
    return [0 if snapshot is None else snapshot.sequence for snapshot in found]


@pytest.mark.durable
async def test_a_clean_stop_writes_the_snapshots_that_wait(store: EventStore) -> None:
    every = EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=1))
    ids = [f"a{number}" for number in range(200)]
    async with every as system:
        await system.execute_many([(id, add(1)) for id in ids])
    stats = await every.system_stats()
    assert (stats.snapshots_written, stats.snapshots_dropped) == (200, 0)
    assert await sequences(store, *ids) == [1] * 200


async def test_what_the_last_commands_make_due_while_the_system_stops_is_written() -> None:
    async with FailingStore() as store:
        async with system_on(store) as system:
            gate = store.hold("append")
            last = asyncio.ensure_future(system.execute("a", add(*range(10))))
            await gate.reached()
            system._tree.commands.mailbox.stop_requested.add_done_callback(lambda _: gate.open())
        assert isinstance(await last, Ok)
        assert await sequences(store, "a") == [10]


@pytest.mark.slow
async def test_a_store_that_hangs_holds_a_stop_up_for_no_longer_than_the_writer_may_take() -> None:
    async with FailingStore() as store:
        async with asyncio.timeout(60), system_on(store) as system:
            store.hold("save_snapshots")
            await system.execute_many([("a", add(*range(10))), ("b", add(*range(10)))])
        assert await sequences(store, "a", "b") == [0, 0]


async def test_snapshots_dropped_under_load_are_taken_with_the_next_commit_of_their_aggregates() -> None:
    async with FailingStore() as store, system_on(store) as system:
        gate = store.hold("save_snapshots")
        await system.execute("first", add(*range(10)))
        await gate.reached()
        await system.execute_many([(f"a{number}", add(*range(10))) for number in range(256)])
        await system.execute("late", add(*range(10)))
        await system.execute("late", add(10))  # still no room
        assert (await system.system_stats()).snapshots_dropped == 2
        gate.open()
        await written(system, 257)
        await system.execute("late", add(11))
        await written(system, 258)
        assert await sequences(store, "late") == [12]
        await system.execute("late", add(12))
        await settled(system)
        assert (await system.system_stats()).snapshots_written == 258


@pytest.mark.parametrize("weather", [StoreUnavailable, StoreBusy])
async def test_snapshots_that_the_store_did_not_take_are_taken_with_the_next_commit_of_their_aggregates(
    weather: type[Exception],
) -> None:
    async with FailingStore() as store, system_on(store) as system:
        store.fail("save_snapshots", weather("away"))
        await system.execute("a", add(*range(10)))
        await settled(system)
        await system.execute("a", add(10))
        await written(system, 1)
        assert await sequences(store, "a") == [11]
        await system.execute("a", add(11))
        await settled(system)
        assert (await system.system_stats()).snapshots_written == 1
