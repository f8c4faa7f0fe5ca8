"""Whatever becomes of snapshots: every load equals a full replay, and every command is decided as without them."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from eventree import (
    Commit,
    DomainError,
    Err,
    EventSourcing,
    MemoryStore,
    Ok,
    Result,
    SnapshotConfig,
)
from eventree.sourcing import SystemStats
from eventree.sourcing.snapshots.codec import SnapshotCodec
from harness.effort import examples
from sourcing.clock import Clock
from sourcing.damage import AnyStore, Change, damage, damage_signed, opened
from sourcing.ledger import Added, Boom, Ledger, LedgerSystem, LedgerType, add, ledger, ledger_in_place
from sourcing.waiting import nothing_to_write

EXAMPLES = examples()
IDS = "abc"
EXPECTED = ["written", "ignored", "used", "due by events", "due by cost", "Ok", "Err", "conflict"]


@dataclass(frozen=True)
class Order:
    """A command that can be shown."""

    kind: str
    amounts: tuple[int, ...] = ()

    def __call__(self, state: Ledger) -> Result[Sequence[Added], str]:
        match self.kind:
            case "add":
                return Ok([Added(amount) for amount in self.amounts])
            case "add total":
                return Ok([Added(sum(state.entries)), Added(len(state.entries))])
            case "refuse if odd" if sum(state.entries) % 2:
                return Err(f"{state.entries} is odd")
            case "refuse if odd":
                return Ok([Added(1)])
            case _:
                raise Boom


@dataclass(frozen=True)
class Execute:
    """Execute commands, one after the other or all at once."""

    commands: Sequence[tuple[str, Order]]
    at_once: bool


@dataclass(frozen=True)
class Intervene:
    """Let somebody else write, so that what is in memory is old."""

    id: str
    amounts: tuple[int, ...]


@dataclass(frozen=True)
class Damage:
    """Change what is stored of a snapshot."""

    id: str
    changes: dict[str, Change]
    signed: bool


@dataclass(frozen=True)
class Slow:
    """From now on it takes so long to apply an event."""

    seconds: float


Step: TypeAlias = Execute | Intervene | Damage | Slow


@dataclass(frozen=True)
class Life:
    """One system from its start to its end."""

    config: SnapshotConfig
    cache_size: int
    in_place: bool
    state_version: int
    steps: Sequence[Step]
    writes_to_the_end: bool


ids = st.sampled_from(IDS)
amounts = st.lists(st.integers(0, 9), max_size=5).map(tuple)
orders = st.builds(Order, st.just("add"), amounts) | st.sampled_from(
    [Order("add total"), Order("refuse if odd"), Order("crash")]
)
executions = st.builds(Execute, st.lists(st.tuples(ids, orders), min_size=1, max_size=6), st.booleans())
damages = st.builds(
    Damage,
    ids,
    st.fixed_dictionaries({"sequence": st.integers(1, 40)})
    | st.sampled_from([{"payload": '{"entries":[7]}'}, {"payload": "null"}, {"state_type": "X"}, {"checksum": 0}]),
    st.just(False),
)
misfits = st.builds(
    Damage, ids, st.sampled_from([{"payload": "null"}, {"state_type": "X"}, {"sequence": 10_000}]), st.just(True)
)
interventions = st.builds(Intervene, ids, amounts)
slowness = st.builds(Slow, st.sampled_from([0.0, 0.1, 1.0, 10.0]))
KINDS: list[st.SearchStrategy[Step]] = [*[executions] * 6, *[interventions] * 2, damages, misfits, slowness, slowness]
steps = st.sampled_from(KINDS).flatmap(lambda kind: kind)
seconds = st.sampled_from([0.1, 0.5, 1.0, 3.0])
configs = st.one_of(
    st.builds(SnapshotConfig, st.integers(1, 9)),
    st.builds(SnapshotConfig, st.none(), seconds),
    st.builds(SnapshotConfig, st.integers(1, 9), seconds),
)
lives = st.builds(
    Life,
    configs,
    st.sampled_from([1, 2, 100]),
    st.booleans(),
    st.sampled_from([1, 1, 1, 2]),
    st.lists(steps, min_size=4, max_size=16),
    st.booleans(),
)
scripts = st.lists(lives, min_size=2, max_size=5)


def tour(config: SnapshotConfig, *, in_place: bool) -> Life:
    """Return a life that comes to all that is expected, as chance may leave out some."""
    grow = Execute([("a", Order("add", (1, 2))), ("a", Order("refuse if odd")), ("b", Order("crash"))], at_once=True)
    return Life(config, 100, in_place, 1, [Slow(1.0), grow, Intervene("a", (3, 4)), grow], writes_to_the_end=True)


TOUR = [
    tour(SnapshotConfig(frequency=2), in_place=False),
    tour(SnapshotConfig(max_replay_seconds=1.0), in_place=True),
    Life(SnapshotConfig(2), 1, False, 1, [Damage("a", {"checksum": 0}, signed=False)], writes_to_the_end=True),
    tour(SnapshotConfig(frequency=2, max_replay_seconds=1.0), in_place=False),
]


Answer: TypeAlias = tuple[str, object]


def comparable(answer: Result[object, Exception]) -> Answer:
    """Return an answer without positions: where commands are decided again, aggregates change their order."""
    match answer:
        case Ok(Commit(id, sequence, _, events)):
            return "Ok", (id, sequence, events)
        case Ok(value):
            return "Ok", value
        case Err(error):
            return "Err", (type(error), error.reason if isinstance(error, DomainError) else None)


class World:
    """A store whose snapshots come and go, and beside it one that has none, with the same commands."""

    def __init__(self, store: AnyStore, place: str, plain: LedgerSystem, reference: LedgerSystem) -> None:
        self._store = store
        self._place = place
        self._plain = plain
        self._reference = reference
        self._clock = Clock(0.0)
        self.seen: Counter[str] = Counter()

    async def live(self, life: Life) -> None:
        kind = self._clock.slow(ledger_in_place if life.in_place else ledger, state_version=life.state_version)
        system = EventSourcing(kind, self._store, snapshots=life.config, cache_size=life.cache_size)
        system._tree.loader.clock = self._clock
        async with system:
            for id in IDS:
                self.seen["used"] += (await system.latest_snapshot(id)).unwrap() is not None
            for step in life.steps:
                await self.take(step, system, kind)
                await self.assert_loads_equal(system)
            if life.writes_to_the_end:
                await nothing_to_write(system)
            self.count(await system.system_stats(), life.config)

    async def take(self, step: Step, system: LedgerSystem, kind: LedgerType) -> None:
        match step:
            case Execute(commands, at_once):
                await self.execute(commands, system, at_once=at_once)
            case Intervene(id, amounts):
                await self._plain.execute(id, add(*amounts))
                await self._reference.execute(id, add(*amounts))
            case Damage(id, changes, signed):
                await nothing_to_write(system)
                if signed:
                    await damage_signed(self._store, self._place, SnapshotCodec(kind), id, **changes)
                else:
                    await damage(self._store, self._place, id, **changes)
            case Slow(seconds):
                self._clock.seconds = seconds

    async def execute(self, commands: Sequence[tuple[str, Order]], system: LedgerSystem, *, at_once: bool) -> None:
        if at_once:
            answers = await system.execute_many(commands)
            expected = await self._reference.execute_many(commands)
        else:
            answers = [await system.execute(id, order) for id, order in commands]
            expected = [await self._reference.execute(id, order) for id, order in commands]
        assert [*map(comparable, answers)] == [*map(comparable, expected)]
        self.seen.update(comparable(answer)[0] for answer in answers)

    async def assert_loads_equal(self, system: LedgerSystem) -> None:
        for id in IDS:
            loaded, replayed, expected = [
                comparable(await each.load_aggregate(id)) for each in (system, self._plain, self._reference)
            ]
            assert loaded == replayed == expected

    def count(self, stats: SystemStats, config: SnapshotConfig) -> None:
        self.seen["written"] += stats.snapshots_written
        self.seen["ignored"] += stats.snapshots_ignored
        self.seen["conflict"] += stats.conflicts
        if not stats.snapshots_ignored:
            self.seen["due by events"] += stats.snapshots_written if config.max_replay_seconds is None else 0
            self.seen["due by cost"] += stats.snapshots_written if config.frequency is None else 0


async def run(place: str, script: Sequence[Life]) -> Counter[str]:
    """Run a script; every answer and every load is as if there were no snapshots.

    Returns:
        How often each kind of thing happened.
    """
    async with (
        asyncio.timeout(60),
        opened(place) as store,
        MemoryStore() as other,
        EventSourcing(ledger, store) as plain,
        EventSourcing(ledger, other) as reference,
    ):
        world = World(store, place, plain, reference)
        for life in script:
            await world.live(life)
    return world.seen


def run_examples(new_place: Callable[[], str], count: int) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @example(script=TOUR)
    @given(script=scripts)
    def every_script(script: list[Life]) -> None:
        seen.update(asyncio.run(run(new_place(), script)))

    every_script()
    assert not [kind for kind in EXPECTED if not seen[kind]], "the scripts never come to these, so they show little"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Do not log every snapshot that is ignored."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.random
def test_with_snapshots_in_memory_all_is_as_if_there_were_none() -> None:
    run_examples(lambda: "", EXAMPLES)


@pytest.mark.random
def test_with_snapshots_on_sqlite_all_is_as_if_there_were_none(tmp_path: Path) -> None:
    run_examples(lambda: str(tmp_path / f"{uuid4().hex}.db"), max(1, EXAMPLES // 4))
