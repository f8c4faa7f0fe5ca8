"""Every store answers what the memory store answers, whatever it is asked in whatever order."""

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from msgspec import structs

from eventree.errors import EventreeError
from eventree.stores import EventStore, MemoryStore, SQLiteStore
from eventree.stores.contract import (
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    LogPage,
    NewCommand,
    NewEvent,
    QueryRequest,
    QuerySummary,
    RequestAnswer,
    StoredCheckpoint,
    StoredFailure,
    StoredSnapshot,
    StoredStop,
    StreamPage,
    StreamRead,
)
from eventree.testing.store_values import parked
from harness.effort import examples

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
COMMAND_IDS = [f"c{number}" for number in range(12)]
GOOD_IDS = ["a", "1", '"é\n😀', "é" * 127 + "x"]
EXAMPLES = examples()
TYPES, STATE_VERSIONS = ["x", "ÿ"], ["v1", "v2"]
EXPECTED = ["Appended", "Conflict", "DuplicateCommand", "InvalidArgument", "LogRolledBack", "CheckpointFenced"]
EXPECTED += ["CheckpointHeld", "load_parked", "load_checkpoint"]
EXPECTED += ["events", "find_commands", "load_snapshots", "list_aggregates", "list_queries", "read_backwards"]

T = TypeVar("T")
Call: TypeAlias = tuple[str, tuple[Any, ...]]
Numbers: TypeAlias = "itertools.count[int]"

ENDS: list[Call] = [
    ("head", ()),
    ("read", (0, 1_000)),
    ("read_backwards", (None, 1_000)),
    ("list_aggregates", (None, None, 1_000)),
    ("list_aggregate_types", ()),
    ("list_queries", ()),
    ("find_commands", (COMMAND_IDS,)),
    ("read_streams", ([StreamRead(type, id) for type in TYPES for id in GOOD_IDS],)),
    *(("load_snapshots", (type, GOOD_IDS, version)) for type in TYPES for version in STATE_VERSIONS),
    *(("load_checkpoint", (name, version)) for name in "qQ" for version in (1, 2)),
    *(("load_parked", (name, version)) for name in "qQ" for version in (1, 2)),
    *(("load_requests", ("q", version)) for version in (1, 2)),
    *(("take_answer", (UUID(int=number),)) for number in range(6)),
]
"""What shows all that a store holds."""


@dataclass(frozen=True)
class Wish:
    """Ask for a commit; where its aggregate stands is known only when it is run."""

    aggregate: tuple[str, str]
    off_by: int
    payloads: list[str]
    command_ids: list[str]


def call(name: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), st.tuples(*args))


def as_json(text: str) -> str:
    """Return a text as JSON, two bytes longer if nothing in it needs to be escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T], *, one_in: int) -> st.SearchStrategy[T]:
    """Choose the rare one so often; `one_of` takes no weights, not even by repetition."""
    return st.integers(1, one_in).flatmap(lambda number: rare if number == one_in else usual)


types = st.sampled_from(TYPES)
good_ids = st.sampled_from(GOOD_IDS)
ids = mostly(good_ids, st.sampled_from(["é" * 128, "", "\0", "\ud800"]), one_in=30)
names = mostly(st.sampled_from(["q", "Q"]), st.just(""), one_in=20)
versions = mostly(st.integers(1, 2), st.just(0), one_in=20)
command_ids = st.sampled_from(COMMAND_IDS)
state_versions = st.sampled_from(STATE_VERSIONS)
small = st.integers(0, 6)
printable = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20).map(as_json)
odd_texts = st.sampled_from([as_json("y" * (2**20 - 2)), as_json("y" * (2**20 - 1)), '"\ud800"', '"\0"'])
texts = mostly(printable, odd_texts, one_in=60)
checkpoints = st.builds(Checkpoint, small, st.sampled_from([0, 1, 1, 1, 2, 2, 3]))
claims = st.builds(
    LeaseRequest, st.sampled_from(["one", "two"]), st.sampled_from([0.0, 3600.0]), st.sampled_from([0, 2, None])
)
parkings = st.lists(st.builds(parked, ids, st.integers(1, 4), reason=st.sampled_from(["", "no", "é"])), max_size=2)
request_ids = st.integers(0, 5).map(lambda number: UUID(int=number))
moves = st.builds(
    CheckpointUpdate,
    checkpoints,
    st.sampled_from([0.0, 3600.0]),
    parkings,
    st.sets(st.integers(1, 4), max_size=1),
    small,
    failure=st.none() | st.builds(StoredFailure, st.integers(1, 4), st.integers(1, 3), st.just("é"), st.just(NOON)),
    paused=st.sampled_from([None, None, True, False]),
    answers=st.lists(st.builds(RequestAnswer, request_ids, small), max_size=2),
)
stops = st.builds(StoredStop, st.sampled_from(["stopped", "outdated"]), st.sampled_from(["", "é"]))
requests = st.builds(
    QueryRequest, request_ids, st.just("q"), st.sampled_from([1, 2]), st.sampled_from(["pause", "skip"]), st.just("")
)
bounds = st.none() | small
reads = st.builds(StreamRead, types, ids, small, small, bounds, bounds)
keys = st.none() | st.tuples(types, ids)
filters = st.none() | st.lists(types, max_size=2)
event_filters = st.none() | st.lists(st.sampled_from(["e0", "e1", "e2"]), max_size=2)
sequences = mostly(st.sampled_from([1, 1, 1, 2, 2, 4]), st.just(0), one_in=20)
checksums = mostly(st.integers(0, 2**32 - 1), st.sampled_from([-1, 2**32]), one_in=20)
snapshots = st.builds(
    StoredSnapshot, types, st.just("a") | ids, state_versions, sequences, types, texts, checksums, st.just(NOON)
)
wishes = st.builds(
    Wish,
    st.tuples(types, ids),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1]),
    st.lists(texts, max_size=4),
    st.lists(command_ids, max_size=2, unique=True),
)
several = st.lists(wishes, min_size=1, max_size=4, unique_by=lambda wish: wish.aggregate)
appends = call("append", mostly(several, st.lists(wishes, max_size=4), one_in=10))
other_calls = [
    call("find_commands", st.lists(command_ids, max_size=4)),
    call("read_streams", st.lists(reads, max_size=3)),
    call(
        "read",
        mostly(st.integers(0, 12), st.integers(50, 500), one_in=5),
        small,
        filters,
        event_filters,
    ),
    call("read_backwards", st.none() | st.integers(0, 12), small, filters, event_filters),
    call("list_aggregates", st.none() | types, keys, small),
    call("list_aggregate_types"),
    call("list_queries"),
    call("head"),
    call("claim_checkpoint", names, versions),
    call("claim_checkpoint", st.just("q"), st.just(1), claims),
    call("save_checkpoint", names, versions, moves),
    call("save_checkpoint", st.just("q"), st.just(1), moves),
    call("renew_checkpoint", names, versions, st.integers(0, 3), st.sampled_from([0, 3600])),
    call("make_live", names, versions, st.integers(0, 3)),
    call("stop_checkpoint", names, versions, st.sampled_from(["one", "two", "worker"]), stops),
    call("put_request", requests),
    call("load_requests", st.just("q"), versions),
    call("take_answer", request_ids),
    call("load_checkpoint", names, versions),
    call("load_parked", names, versions),
    call("save_snapshots", st.lists(snapshots, max_size=3)),
    call("load_snapshots", types, st.lists(ids, max_size=3), state_versions),
    call("reopen"),
]
calls = mostly(appends, st.sampled_from(other_calls).flatmap(lambda kind: kind), one_in=2)
scripts = st.lists(calls, min_size=15, max_size=50)
TOUR: list[Call] = [
    ("append", ([Wish(("x", "a"), 0, ['"1"', '"2"'], [COMMAND_IDS[0]])],)),
    ("append", ([Wish(("x", "a"), 0, ['"3"'], [COMMAND_IDS[0]])],)),
    ("append", ([Wish(("x", "a"), 1, ['"3"'], [])],)),
    ("append", ([Wish(("x", ""), 0, [], [])],)),
    ("read", (9, 3, None)),
    ("save_snapshots", ([StoredSnapshot("x", "a", "v1", 1, "S", "{}", 7, NOON)],)),
    ("claim_checkpoint", ("Q", 1, LeaseRequest("one", 3600))),
    ("claim_checkpoint", ("Q", 1, LeaseRequest("two"))),
    ("save_checkpoint", ("Q", 1, CheckpointUpdate(Checkpoint(3, 7)))),
    ("claim_checkpoint", ("q", 1)),
    ("save_checkpoint", ("q", 1, CheckpointUpdate(Checkpoint(3, 1), park=[parked("a", 2)], replay_until=2))),
    ("load_parked", ("q", 1)),
    ("claim_checkpoint", ("q", 2)),
    ("make_live", ("q", 2, 1)),
    ("load_checkpoint", ("q", 2)),
]
"""All that is expected, as chance may leave out some."""


async def answer(store: EventStore, name: str, args: tuple[Any, ...], numbers: Numbers) -> object:
    """Return what a call comes to: a value without times, or which error it is and what it says."""
    try:
        if name == "reopen":
            await store.__aexit__(None, None, None)
            return await store.__aenter__() is store
        if name == "append":
            args = ([await to_request(store, wish, numbers) for wish in args[0]],)
        if name == "list_aggregates":
            return comparable(await store.list_aggregates(args[0], after=args[1], limit=args[2]))
        return comparable(await getattr(store, name)(*args))
    except EventreeError as error:
        return type(error), str(error)


async def to_request(store: EventStore, wish: Wish, numbers: Numbers) -> AppendRequest:
    stands = await stands_at(store, *wish.aggregate)
    commit_id = UUID(int=next(numbers))
    events = [NewEvent(f"e{number}", 1, text, '{"k":"é"}', commit_id) for number, text in enumerate(wish.payloads)]
    expected = max(0, stands + wish.off_by)
    commands = [NewCommand(id, expected + 1, expected + len(events)) for id in wish.command_ids]
    return AppendRequest(*wish.aggregate, expected, events, commands)


async def stands_at(store: EventStore, type: str, id: str) -> int:
    try:
        [page] = await store.read_streams([StreamRead(type, id, limit=0)])
    except EventreeError:
        return 0
    return page.sequence


def comparable(value: object) -> object:
    """Return an answer without times of events, and whatever kinds of collections it is made of."""
    match value:
        case StreamPage() | LogPage():
            return replace(value, events=[structs.replace(event, recorded_at=NOON) for event in value.events])
        case QuerySummary():
            return replace(value, lease_seconds=round(value.lease_seconds, -2))
        case str():
            return value
        case Mapping():
            return dict(value)
        case Sequence():
            return [comparable(one) for one in value]
        case _:
            return value


async def compare(other: EventStore, script: Sequence[Call]) -> Counter[str]:
    """Run a script on the memory store and on another: every answer, what watchers hear, and the end are equal.

    Returns:
        How often each kind of answer was given.
    """
    kinds: Counter[str] = Counter()
    heard: tuple[list[int], list[int]] = ([], [])
    numbers = (itertools.count(1), itertools.count(1))
    async with asyncio.timeout(120), MemoryStore() as memory, other:
        memory.watch(heard[0].append)
        other.watch(heard[1].append)
        for name, args in [*script, *ENDS]:
            expected = await answer(memory, name, args, numbers[0])
            assert await answer(other, name, args, numbers[1]) == expected, (name, args)
            kinds.update(kinds_of(name, expected))
    assert heard[1] == heard[0]
    return kinds


def kinds_of(name: str, answered: object) -> list[str]:
    """Return what to count an answer as; an answer without content does not count."""
    match name, answered:
        case _, (type() as error, _):
            return [error.__name__]
        case "append", [*outcomes]:
            return [type(outcome).__name__ for outcome in outcomes]
        case "read_backwards", LogPage(_, [_, *_]):
            return [name]
        case _, LogPage(_, [_, *_]):
            return ["events"]
        case ("load_parked" | "list_aggregates" | "list_queries", [_, *_]) | (_, StoredCheckpoint()):
            return [name]
        case _, {}:
            return [name] if answered else []
        case _:
            return []


def run_examples(make: Callable[[], EventStore]) -> None:
    kinds: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @example(script=TOUR)
    @given(script=scripts)
    def every_script(script: list[Call]) -> None:
        kinds.update(asyncio.run(compare(make(), script)))

    every_script()
    assert not [kind for kind in EXPECTED if not kinds[kind]], "the scripts never come to these, so they show little"


@pytest.mark.random
def test_the_sqlite_store_answers_what_the_memory_store_answers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_examples(lambda: SQLiteStore(Path(folder) / f"{uuid4().hex}.db"))


@pytest.mark.random
def test_the_postgres_store_answers_what_the_memory_store_answers(postgres_dsn: str) -> None:
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra

    # A loaded machine may need more than the default of 10 s for a statement, and that would be another answer.
    run_examples(lambda: PostgresStore(postgres_dsn, schema=f"s{uuid4().hex}", timeout=60, notify=False))
