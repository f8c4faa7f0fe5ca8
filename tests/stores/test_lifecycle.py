"""A store is used in the event loop and the process that entered it; from elsewhere it is refused at once."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from eventree import MemoryStore
from eventree.errors import StoreUnavailable, WrongEventLoop
from eventree.stores import ForwardingStore, SQLiteStore
from eventree.stores.contract import StoredStop
from eventree.testing.store_values import query_request
from eventree.testing.suite.lifecycle import OPERATIONS
from harness.other_loops import in_another_loop
from stores.store_values import append, request

Opens: TypeAlias = Callable[[], Any]

FORKER = Path(__file__).with_name("forker.py")


@pytest.fixture(params=["memory", "SQLite", "Postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "Postgres":
        return str(request.getfixturevalue("postgres_dsn"))
    return "" if request.param == "memory" else str(tmp_path / "events.db")


@pytest.fixture
def store(place: str) -> Any:
    if "://" in place:
        from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra

        return PostgresStore(place)
    return SQLiteStore(place) if place else MemoryStore()


async def watch(store: Any) -> None:
    store.watch(print)


async def transaction(store: Any) -> None:
    async with store.transaction():
        pass


USES: dict[str, Callable[[Any], Awaitable[object]]] = {
    **OPERATIONS,
    "load_checkpoint": lambda store: store.load_checkpoint("query", 1),
    "load_parked": lambda store: store.load_parked("query", 1),
    "stop_checkpoint": lambda store: store.stop_checkpoint("query", 1, "worker", StoredStop("stopped", "")),
    "put_request": lambda store: store.put_request(query_request()),
    "load_requests": lambda store: store.load_requests("query", 1),
    "take_answer": lambda store: store.take_answer(UUID(int=1)),
    "make_live": lambda store: store.make_live("query", 1, 1),
    "renew_checkpoint": lambda store: store.renew_checkpoint("query", 1, 1, 5),
    "watch": watch,
    "transaction": transaction,
    "enter": lambda store: store.__aenter__(),
    "leave": lambda store: store.__aexit__(None, None, None),
}


@pytest.mark.parametrize("use", USES)
async def test_from_another_loop_a_store_is_not_used(store: Any, use: str) -> None:
    if use == "transaction" and isinstance(store, MemoryStore):
        pytest.skip("has no transactions")
    async with store, ForwardingStore(store) as outer:
        await append(store, request("a"))
        await store.claim_checkpoint("query", 1)
        for each in (store, outer):
            with pytest.raises(WrongEventLoop, match=r"Store.*another event loop.*run_coroutine_threadsafe"):
                await in_another_loop(lambda each=each: USES[use](each))  # type: ignore[misc]
        assert await store.head() == 1
        assert await append(store, request("b")) is not None
    with pytest.raises(StoreUnavailable):
        await store.head()


async def test_a_store_that_is_busy_is_refused_just_as_fast(store: Any) -> None:
    async with store:
        at_work = [asyncio.ensure_future(store.append([request(f"a{number}")])) for number in range(20)]
        await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(WrongEventLoop):
                await in_another_loop(lambda: store.append([request("b")]))
        await asyncio.gather(*at_work)
        assert await store.head() == 20


def test_a_store_may_be_used_in_one_loop_after_the_other(store: Any) -> None:
    async def use(number: int) -> int:
        async with store:
            await append(store, request(f"a{number}"))
            return int(await store.head())

    heads = [asyncio.run(use(number)) for number in range(3)]
    assert heads == [1, 2, 3]


def test_a_store_whose_loop_was_closed_over_it_is_refused_in_the_next(place: str, store: Any) -> None:
    if place:
        pytest.skip("drivers complain about a loop that is closed over their connections")
    asyncio.run(store.__aenter__())
    for use in (store.head, store.__aenter__, lambda: store.__aexit__(None, None, None)):
        with pytest.raises(WrongEventLoop, match="was closed"):
            asyncio.run(use())


async def test_entering_from_two_loops_at_once_opens_the_store_in_one(store: Any) -> None:
    async def enter() -> str:
        try:
            await store.__aenter__()
        except WrongEventLoop:
            return "refused"
        await asyncio.sleep(0.2)
        await store.__aexit__(None, None, None)
        return "entered"

    answers = await asyncio.gather(in_another_loop(enter), enter())
    assert "entered" in answers
    async with store:
        assert await store.head() == 0


async def test_a_store_that_could_not_be_opened_belongs_to_no_loop(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "missing" / "events.db")
    with pytest.raises(StoreUnavailable):
        await store.__aenter__()
    (tmp_path / "missing").mkdir()

    async def use() -> int:
        async with store:
            return await store.head()

    assert await in_another_loop(use) == 0


async def test_a_projections_transaction_is_not_used_from_another_loop(place: str, store: Any) -> None:
    if not place:
        pytest.skip("has no transactions")
    async with store:
        await store.claim_checkpoint("query", 1)
        async with store.transaction() as transaction:
            with pytest.raises(WrongEventLoop):
                await in_another_loop(lambda: transaction.claim_checkpoint("query", 1))
        given = store.transaction()
        with pytest.raises(WrongEventLoop):
            await in_another_loop(given.__aenter__)
        assert (await store.claim_checkpoint("query", 1)).fencing_token == 2


# --- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["new loop", "same coroutine", "same loop", "multiprocessing"])
def test_after_a_fork_the_child_is_refused_and_the_parent_goes_on(place: str, how: str) -> None:
    run = subprocess.run(
        [sys.executable, str(FORKER), place, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert set(said["child"]) >= {"head", "append", "execute", "load_aggregate", "system_stats", "transaction", "watch"}
    assert said["child"].pop("left with an error") == "passed on"
    wrong = {use: answer for use, answer in said["child"].items() if not answer.startswith("WrongEventLoop: ")}
    assert wrong == {}
    assert all("forked" in answer for answer in said["child"].values())
    assert said["parent"] == {"before": 1, "while": 2, "after": 3, "seen": 3, "restarts": 0}
    assert said["exit"] == 0
