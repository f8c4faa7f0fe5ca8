"""Whoever reads through a store with a tail sees what a store without one reads, whatever happened before."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from eventree.stores import SQLiteStore, live
from eventree.stores.contract import AppendRequest, NewEvent, RecordedEvent
from eventree.stores.sqlite import reads as sqlite_reads
from eventree.testing.store_values import append, log, request, stream
from harness.effort import examples
from stores.followers import AnyStore, counted, tail_of

EXAMPLES = examples()
MAX_EVENTS, MAX_BYTES, MAX_PAGE = 20, 1_200, 600
TYPES = ["x", "y", "z"]


@dataclass(frozen=True)
class Stores:
    """Two that append, the first with a tail, and one that only reads."""

    one: AnyStore
    two: AnyStore
    fresh: AnyStore
    unwatch: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True)
class Append:
    """Append by one of the stores; a commit for each run of equal numbers, whose text repeats a letter."""

    store: int
    events: dict[tuple[str, str], list[tuple[int, str, int]]]
    off_by: int
    cancel_after: int | None

    async def run(self, stores: Stores) -> None:
        store = (stores.one, stores.two)[self.store]
        commits = [uuid4() for _ in range(3)]
        requests = [
            AppendRequest(
                *key,
                (await stream(stores.fresh, key[1], type=key[0], limit=0)).sequence + self.off_by,
                [NewEvent("e", 1, f'"{letter * size}"', "{}", commits[number]) for number, letter, size in events],
            )
            for key, events in self.events.items()
        ]
        task = asyncio.create_task(append(store, *requests))
        if self.cancel_after is not None:
            for _ in range(self.cancel_after):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        await append(store, request("check", events=0))  # comes after the one that was cancelled


@dataclass(frozen=True)
class Read:
    """Read behind the head by so many positions."""

    behind: int
    limit: int
    types: list[str] | None

    async def run(self, stores: Stores) -> None:
        head = await stores.fresh.head()
        after = max(0, head - self.behind)
        page = await stores.one.read(after, self.limit, self.types, live=True)
        expected = await stores.fresh.read(after, self.limit, self.types)
        if page.position < expected.position:  # the tail ends there
            assert tail_of(stores.one).read(page.position, 1, None) is None
            assert tail_of(stores.one).read(page.position - 1, 1, None) is not None
            assert not page.more
            expected = replace(await stores.fresh.read(after, page.position - after, self.types), more=False)
        elif page.position < head:
            page = replace(page, more=True)  # the tail ends there too
        assert (page.position, list(page.events), page.more) == (
            expected.position,
            list(expected.events),
            expected.more,
        )
        assert page.position > after or page.position == head


@dataclass(frozen=True)
class Watch:
    """Let the first store be watched by nobody for a moment, or be closed and opened."""

    reopens: bool

    async def run(self, stores: Stores) -> None:
        if self.reopens:
            await stores.one.__aexit__(None, None, None)
            await stores.one.__aenter__()
        else:
            stores.unwatch.pop()()
            stores.unwatch.append(stores.one.watch(lambda _: None))


Step: TypeAlias = Append | Read | Watch
events = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("aé"), st.sampled_from([0, 0, 1, 20, 100, 290])),
    min_size=1,
    max_size=4,
).map(lambda events: sorted(events, key=lambda event: event[0]))
keys = st.tuples(st.sampled_from(TYPES), st.sampled_from("ab"))
appends = st.builds(
    Append,
    st.sampled_from([0, 0, 0, 0, 1]),
    st.dictionaries(keys, events, min_size=1, max_size=3),
    st.sampled_from([0, 0, 0, 0, 1]),
    st.sampled_from([None, None, None, 0, 1, 2, 3]),
)
reads = st.builds(
    Read,
    st.integers(0, 30),
    st.sampled_from([1, 2, 3, 5, 100]),
    st.none() | st.lists(st.sampled_from(TYPES), max_size=2),
)
watches = st.builds(Watch, st.booleans())
steps = st.lists(
    st.integers(0, 20).flatmap(lambda kind: watches if not kind else appends if kind < 9 else reads),
    min_size=10,
    max_size=40,
)


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_EVENTS", MAX_EVENTS)
    monkeypatch.setattr(live, "MAX_BYTES", MAX_BYTES)
    monkeypatch.setattr(live, "MAX_PAGE_BYTES", MAX_PAGE)
    monkeypatch.setattr(sqlite_reads, "MAX_PAGE_BYTES", MAX_PAGE)


async def play(make: Callable[[], AnyStore], script: list[Step]) -> None:
    async with asyncio.timeout(60), make() as one, make() as two, make() as fresh:
        stores = Stores(one, two, fresh, [one.watch(lambda _: None)])
        for step in script:
            await step.run(stores)
        await read_all(one, 0, 5)


async def read_all(store: AnyStore, position: int, limit: int) -> list[RecordedEvent]:
    """Read until the database says that there is no more, and see that nothing is left out."""
    found: list[RecordedEvent] = []
    while (page := await store.read(position, limit, live=True)).position > position:
        assert [event.position for event in page.events] == list(range(position + 1, page.position + 1))
        found += page.events
        position = page.position
    assert position == await store.head()
    return found


def check(make: Callable[[], Callable[[], AnyStore]], examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(script=steps)
    def every_script(script: list[Step]) -> None:
        asyncio.run(play(make(), script))

    every_script()


@pytest.mark.random
def test_the_tail_of_sqlite_cannot_be_told_from_the_database() -> None:
    with tempfile.TemporaryDirectory() as folder:

        def on_a_new_file() -> Callable[[], AnyStore]:
            file = Path(folder) / f"{uuid4().hex}.db"
            return lambda: SQLiteStore(file, busy_timeout=30)

        check(on_a_new_file, EXAMPLES)


@pytest.mark.random
def test_the_tail_of_postgres_cannot_be_told_from_the_database(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventree.stores.postgres import PostgresStore, reads as postgres_reads  # noqa: PLC0415 - its driver is an extra

    monkeypatch.setattr(postgres_reads, "MAX_PAGE_BYTES", MAX_PAGE)

    def in_a_new_schema() -> Callable[[], AnyStore]:
        schema = f"s{uuid4().hex}"
        return lambda: PostgresStore(postgres_dsn, schema=schema, notify=False)

    check(in_a_new_schema, EXAMPLES // 2)


@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_who_follows_two_stores_that_race_misses_nothing(
    new_store: Callable[[], AnyStore], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)

    async def write(store: AnyStore, name: str) -> None:
        for number in range(40):
            task = asyncio.create_task(append(store, *(request(f"{name}{number}{id}", events=2) for id in "ab")))
            if number % 7 == 0:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0.02 * (name == "other"))

    async def follow(store: AnyStore, writers: asyncio.Task[None]) -> list[RecordedEvent]:
        news, found, is_over = asyncio.Event(), list[RecordedEvent](), False
        unwatch = store.watch(lambda _: news.set())
        while not is_over:
            is_over = writers.done()
            found += await read_all_once(store, len(found), limit)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await news.wait()
            news.clear()
        unwatch()
        return found

    async with new_store() as store, new_store() as other, new_store() as fresh:

        async def race() -> None:
            await asyncio.gather(write(store, "one"), write(store, "two"), write(other, "other"))

        writers = asyncio.create_task(race())
        followers = await asyncio.gather(*(follow(store, writers) for _ in range(3)))
        await append(store, request("check", events=0))
        assert await store.head() >= 4 * 3 * 34
        expected = await log(fresh)
        for found in followers:
            missing = await read_all_once(store, len(found), limit)
            assert [*found, *missing] == expected
    assert len(asked.after) < sum(len(found) for found in followers)


async def read_all_once(store: AnyStore, position: int, limit: int) -> list[RecordedEvent]:
    found: list[RecordedEvent] = []
    while (page := await store.read(position, limit, live=True)).position > position:
        assert [event.position for event in page.events] == list(range(position + 1, page.position + 1))
        found += page.events
        position = page.position
        await asyncio.sleep(0)
    return found
