"""The SQLite store answers what the memory store answers, whatever it is asked in whatever order."""

import asyncio
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from eventree.errors import CheckpointFenced
from eventree.stores import EventStore, MemoryStore, SQLiteStore
from eventree.stores.contract import (
    AppendRequest,
    Checkpoint,
    LogPage,
    NewCommand,
    NewEvent,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
COMMAND_IDS = [f"c{number}" for number in range(12)]

Call: TypeAlias = tuple[str, tuple[Any, ...]]
Numbers: TypeAlias = "itertools.count[int]"


@dataclass(frozen=True)
class Wish:
    """Ask for a commit; where its aggregate stands is known only when it is run."""

    aggregate: tuple[str, str]
    off_by: int
    payloads: list[str]
    command_ids: list[str]


def call(name: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), st.tuples(*args))


types, ids = st.sampled_from(["x", "ÿ"]), st.sampled_from(["a", "1", '"é\n😀'])
names, versions = st.sampled_from(["q", "Q"]), st.integers(1, 2)
command_ids = st.sampled_from(COMMAND_IDS)
state_versions = st.sampled_from(["v1", "v2"])
small, texts = st.integers(0, 6), st.text(max_size=20)
checkpoints = st.builds(Checkpoint, small, st.integers(0, 3))
reads = st.builds(StreamRead, types, ids, small, small)
snapshots = st.builds(StoredSnapshot, types, ids, state_versions, st.integers(1, 6), texts, texts, st.just(NOON))
wishes = st.builds(
    Wish,
    st.tuples(types, ids),
    st.sampled_from([0, 0, 0, 0, 1, -1]),
    st.lists(texts, max_size=4),
    st.lists(command_ids, max_size=2, unique=True),
)
appends = call("append", st.lists(wishes, max_size=4, unique_by=lambda wish: wish.aggregate))
calls = st.one_of(
    *(5 * [appends]),
    call("find_commands", st.lists(command_ids, max_size=4)),
    call("read_streams", st.lists(reads, max_size=3)),
    call("read", st.integers(0, 20), small, st.none() | st.lists(types, max_size=2)),
    call("head"),
    call("claim_checkpoint", names, versions),
    call("save_checkpoint", names, versions, checkpoints),
    call("save_snapshots", st.lists(snapshots, max_size=3)),
    call("load_snapshots", types, st.lists(ids, max_size=3), state_versions),
)


async def answer(store: EventStore, name: str, args: tuple[Any, ...], numbers: Numbers) -> object:
    if name == "append":
        args = ([await to_request(store, wish, numbers) for wish in args[0]],)
    if name == "save_snapshots":
        # The contract does not say what becomes of snapshots of what never happened.
        args = ([one for one in args[0] if await stands_at(store, one.aggregate_type, one.aggregate_id)],)
    try:
        return comparable(await getattr(store, name)(*args))
    except CheckpointFenced as error:
        return repr(error)


async def to_request(store: EventStore, wish: Wish, numbers: Numbers) -> AppendRequest:
    stands = await stands_at(store, *wish.aggregate)
    commit_id = UUID(int=next(numbers))
    events = [NewEvent(f"e{number}", 1, text, text[:5], commit_id) for number, text in enumerate(wish.payloads)]
    commands = [NewCommand(id, stands + 1, stands + len(events)) for id in wish.command_ids]
    return AppendRequest(*wish.aggregate, max(0, stands + wish.off_by), events, commands)


async def stands_at(store: EventStore, type: str, id: str) -> int:
    [page] = await store.read_streams([StreamRead(type, id, limit=0)])
    return page.sequence


def comparable(value: object) -> object:
    """Return an answer without times of events, and whatever kinds of collections it is made of."""
    match value:
        case StreamPage() | LogPage():
            return replace(value, events=[replace(event, recorded_at=NOON) for event in value.events])
        case Mapping():
            return dict(value)
        case Sequence():
            return [comparable(one) for one in value]
        case _:
            return value


async def compare(file: Path, script: Sequence[Call]) -> None:
    ends: list[Call] = [("read", (0, 1_000)), ("find_commands", (COMMAND_IDS,)), ("head", ())]
    heard: tuple[list[int], list[int]] = ([], [])
    numbers = (itertools.count(1), itertools.count(1))
    async with asyncio.timeout(30), MemoryStore() as memory, SQLiteStore(file) as sqlite:
        memory.watch(heard[0].append)
        sqlite.watch(heard[1].append)
        for name, args in [*script, *ends]:
            expected = await answer(memory, name, args, numbers[0])
            assert await answer(sqlite, name, args, numbers[1]) == expected, (name, args)
    assert heard[1] == heard[0]


@settings(max_examples=100, deadline=None)
@given(script=st.lists(calls, min_size=5, max_size=30))
def test_the_sqlite_store_answers_what_the_memory_store_answers(script: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder) / "events.db", script))
