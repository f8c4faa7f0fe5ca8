"""Promises about snapshots."""

from datetime import UTC, datetime, timedelta

import pytest

from eventree.stores.contract import Appended, EventStore
from eventree.testing.store_values import NOON, TYPE, append, request, snapshot


class SnapshotPromises:
    """A store keeps the newest snapshot of each aggregate and state version."""

    async def test_every_field_of_a_snapshot_is_loaded_as_it_was_saved(self, store: EventStore) -> None:
        await append(store, request("ä", type="tÿpe", events=3))
        kept = snapshot("ä", 3, type="tÿpe", version="vé", state_type="Stäte", payload='{"tëxt":  "\\u0000😀"}')
        await store.save_snapshots([kept])
        assert await store.load_snapshots("tÿpe", ["ä"], "vé") == {"ä": kept}

    @pytest.mark.parametrize("checksum", [0, 1, 2**31, 2**32 - 1])
    async def test_a_checksum_is_loaded_as_it_was_saved_even_if_it_is_wrong(
        self, store: EventStore, checksum: int
    ) -> None:
        await append(store, request("a"))
        await store.save_snapshots([snapshot("a", 1, checksum=checksum)])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].checksum == checksum

    @pytest.mark.parametrize("taken_at", [datetime(1970, 1, 1), datetime(2999, 12, 31, 23, 59, 59, 999_999)])  # noqa: DTZ001
    async def test_the_time_of_a_snapshot_is_loaded_in_utc(self, store: EventStore, taken_at: datetime) -> None:
        kept = snapshot("a", 1, taken_at=taken_at.replace(tzinfo=UTC))
        await append(store, request("a"))
        await store.save_snapshots([kept])
        loaded = await store.load_snapshots(TYPE, ["a"], "v1")
        assert loaded == {"a": kept}
        assert loaded["a"].taken_at.utcoffset() == timedelta(0)

    async def test_the_newest_snapshot_is_kept_in_any_order_of_saves(self, store: EventStore) -> None:
        await append(store, request("a", events=9), request("b", events=9))
        await store.save_snapshots([snapshot("a", 3), snapshot("b", 6)])
        await store.save_snapshots([snapshot("a", 6), snapshot("b", 3)])
        loaded = await store.load_snapshots(TYPE, ["a", "b"], "v1")
        assert {id: kept.sequence for id, kept in loaded.items()} == {"a": 6, "b": 6}

    async def test_the_newest_snapshot_in_one_save_is_kept(self, store: EventStore) -> None:
        await append(store, request("a", events=9))
        await store.save_snapshots([snapshot("a", 6, payload="6"), snapshot("a", 3, payload="3")])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].payload == "6"

    async def test_a_snapshot_of_the_same_sequence_replaces_the_one_before(self, store: EventStore) -> None:
        await append(store, request("a", events=9))
        last = snapshot("a", 6, payload="3", state_type="Other", checksum=3, taken_at=NOON + timedelta(hours=1))
        await store.save_snapshots([snapshot("a", 6, payload="1", checksum=1)])
        await store.save_snapshots([snapshot("a", 6, payload="2", checksum=2), last])
        assert await store.load_snapshots(TYPE, ["a"], "v1") == {"a": last}

    async def test_a_snapshot_of_another_state_version_is_not_loaded(self, store: EventStore) -> None:
        await append(store, request("a", events=9))
        await store.save_snapshots([snapshot("a", 6), snapshot("a", 3, version="v2")])
        assert await store.load_snapshots(TYPE, ["a"], "v3") == {}
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 6
        assert (await store.load_snapshots(TYPE, ["a"], "v2"))["a"].sequence == 3

    async def test_a_snapshot_of_another_type_is_not_loaded(self, store: EventStore) -> None:
        await append(store, request("a", events=3), request("a", type="other", events=3))
        await store.save_snapshots([snapshot("a", 1), snapshot("a", 2, type="other")])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 1
        assert (await store.load_snapshots("other", ["a"], "v1"))["a"].sequence == 2

    async def test_aggregates_without_a_snapshot_are_left_out(self, store: EventStore) -> None:
        await append(store, request("a"), request("b"))
        await store.save_snapshots([snapshot("a", 1)])
        await store.save_snapshots([])
        assert set(await store.load_snapshots(TYPE, ["b", "a", "a", "unknown"], "v1")) == {"a"}
        assert await store.load_snapshots(TYPE, [], "v1") == {}

    async def test_a_snapshot_of_an_aggregate_without_events_is_dropped(self, store: EventStore) -> None:
        await append(store, request("b"), request("decided nothing", events=0, commands=["c"]))
        snapshots = [snapshot("never seen", 1), snapshot("decided nothing", 1), snapshot("b", 1)]
        await store.save_snapshots([*snapshots, snapshot("b", 1, type="other")])
        assert set(await store.load_snapshots(TYPE, ["never seen", "decided nothing", "b"], "v1")) == {"b"}
        assert await store.load_snapshots("other", ["b"], "v1") == {}
        outcomes = await append(store, request("never seen"), request("decided nothing"))
        assert outcomes == [Appended(1, 2), Appended(1, 3)]
        assert await store.load_snapshots(TYPE, ["never seen", "decided nothing"], "v1") == {}

    async def test_a_snapshot_ahead_of_its_aggregate_is_dropped(self, store: EventStore) -> None:
        await append(store, request("a", events=3))
        await store.save_snapshots([snapshot("a", 3, payload="3"), snapshot("a", 4, payload="4")])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].payload == "3"
        await append(store, request("a", after=3))
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].payload == "3"
