"""A test may say when events are stored, where no database server does."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from eventree import InvalidArgument, MemoryStore, SQLiteStore
from eventree.errors import CheckpointHeld
from eventree.stores.clock import Clock
from eventree.stores.contract import LeaseRequest
from eventree.testing.store_values import append, log, request

NewStore: TypeAlias = Callable[[Clock], MemoryStore | SQLiteStore]

NOON = datetime(2025, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    if request.param == "memory":
        return lambda clock: MemoryStore(clock=clock)
    return lambda clock: SQLiteStore(tmp_path / "events.db", clock=clock)


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


async def test_events_are_stored_at_the_time_that_the_clock_says(new_store: NewStore) -> None:
    hands = Hands()
    async with new_store(hands) as store:
        stop = store.watch(lambda _: None)  # what is stored now is kept in memory too
        await append(store, request("a", events=2), request("b"))
        hands.now += timedelta(days=400)
        await append(store, request("a", after=2))
        live = [event.recorded_at for event in await log(store)]
        stop()
        assert [event.recorded_at for event in await log(store)] == live
        assert live == [NOON] * 3 + [NOON + timedelta(days=400)]


@pytest.mark.parametrize("moment", [datetime(1066, 10, 14, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
async def test_any_time_will_do(new_store: NewStore, moment: datetime) -> None:
    async with new_store(lambda: moment) as store:
        await append(store, request("a"))
        assert [event.recorded_at for event in await log(store)] == [moment]


@pytest.mark.parametrize("hours", [-5, 5.5, 14])
async def test_a_clock_of_another_zone_is_read_in_utc(new_store: NewStore, hours: float) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=hours)))
    async with new_store(lambda: there) as store:
        await append(store, request("a"))
        [event] = await log(store)
        assert (event.recorded_at, event.recorded_at.utcoffset()) == (NOON, timedelta(0))


@pytest.mark.parametrize("moment", [NOON.replace(tzinfo=None), NOON.timestamp(), None])
async def test_what_is_no_moment_is_refused_and_nothing_is_stored(new_store: NewStore, moment: Any) -> None:
    hands = Hands()
    async with new_store(hands) as store:
        hands.now = moment
        with pytest.raises(InvalidArgument, match=r"^clock: must return an aware datetime, as .*, it returned "):
            await append(store, request("a"), request("b", commands=["c"]))
        hands.now = NOON
        assert (await store.head(), await store.find_commands(["c"])) == (0, {})
        await append(store, request("a"))


def no_more_hands() -> datetime:
    return next(iter(()))


def broken_hands() -> datetime:
    raise KeyError("hands")


def last_moment() -> datetime:
    return datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))


@pytest.mark.parametrize("clock", [no_more_hands, broken_hands, last_moment])
async def test_a_clock_that_fails_is_told_at_once_and_nothing_is_stored(
    new_store: NewStore, clock: Callable[[], datetime]
) -> None:
    async with asyncio.timeout(5), new_store(clock) as store:
        with pytest.raises(
            InvalidArgument, match=r"^clock: must return an aware datetime, as .*: (\w+Error|StopIteration)"
        ):
            await append(store, request("a"))
        assert await store.head() == 0


@pytest.mark.parametrize("clock", [NOON, None])
def test_what_is_no_clock_is_refused(new_store: NewStore, clock: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^clock: must be a function that returns an aware datetime"):
        new_store(clock)


async def test_without_a_clock_it_is_now(tmp_path: Path) -> None:
    for made in (MemoryStore(), SQLiteStore(tmp_path / "events.db")):
        async with made as store:
            before = datetime.now(UTC)
            await append(store, request("a"))
            [event] = await log(store)
            assert before - timedelta(seconds=1) <= event.recorded_at <= datetime.now(UTC) + timedelta(seconds=1)


async def test_leases_go_by_the_real_clock(new_store: NewStore) -> None:
    hands = Hands()
    async with new_store(hands) as store:
        await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))
        hands.now += timedelta(days=400)
        assert (await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))).fencing_token == 2
        with pytest.raises(CheckpointHeld):
            await store.claim_checkpoint("q", 1, LeaseRequest("two", 60))
