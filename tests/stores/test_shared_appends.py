"""Appends that share transactions: who travels together, and what each caller gets."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bank import Deposit, OpenAccount, bank_account
from eventree import EventSourcing
from eventree.errors import CommitOutcomeUnknown, StoreBusy, StoreFull, StoreUnavailable, TransactionFailed
from eventree.stores import SQLiteStore, shared_appends as shared
from eventree.stores.contract import Appended, AppendRequest, DuplicateCommand, Outcome, StreamRead
from eventree.stores.line import Line
from eventree.stores.shared_appends import SharedAppends, Shipment
from eventree.stores.sqlite import append as sqlite_append
from eventree.testing.store_values import append, event, log, positions, request
from stores.followers import AnyStore

NewStore = Callable[[], AnyStore]


@dataclass
class Database:
    """A database that stores nothing, and waits until it is let go on."""

    sent: list[list[str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    poison: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, shipment: Shipment) -> Sequence[Outcome]:
        requests = shipment.take()
        self.sent.append([request.aggregate_id for request in requests])
        await self.gate.wait()
        await asyncio.sleep(0)  # as every database takes a moment
        if self.poison in self.sent[-1]:
            raise TransactionFailed(f"refused {self.poison}")
        if self.errors:
            raise self.errors.pop(0)
        return [
            Appended(request.expected_sequence + len(request.events), int(request.aggregate_id[1:] or 0))
            for request in requests
        ]


@pytest.fixture(autouse=True)
async def nothing_takes_longer_than_a_minute() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def appends(database: Database) -> SharedAppends:
    return SharedAppends(Line(), database.send, "a database")


async def begin(appends: SharedAppends, *calls: Sequence[AppendRequest]) -> list[asyncio.Task[Sequence[Outcome]]]:
    """Make calls in order; the first one is sent, if nothing is."""
    tasks = [asyncio.create_task(appends.append(call)) for call in calls]
    await asyncio.sleep(0)
    return tasks


def ones(*ids: str) -> list[list[AppendRequest]]:
    return [[request(id)] for id in ids]


async def test_a_call_that_meets_no_other_is_sent_by_its_own_task(appends: SharedAppends, database: Database) -> None:
    database.gate.set()
    before = asyncio.all_tasks()
    for number in range(3):
        assert await appends.append([request(f"a{number}")]) == [Appended(1, number)]
        assert asyncio.all_tasks() == before
    assert database.sent == [["a0"], ["a1"], ["a2"]]


async def test_those_who_wait_are_sent_together_and_each_gets_its_own(
    appends: SharedAppends, database: Database
) -> None:
    tasks = await begin(appends, [request("a1")], [request("a2"), request("a3", after=4)], [], [request("a4")])
    database.gate.set()
    assert await asyncio.gather(*tasks) == [[Appended(1, 1)], [Appended(1, 2), Appended(5, 3)], [], [Appended(1, 4)]]
    assert database.sent == [["a1"], ["a2", "a3", "a4"]]


async def test_calls_for_one_aggregate_are_never_sent_together_nor_out_of_order(
    appends: SharedAppends, database: Database
) -> None:
    tasks = await begin(appends, *ones("a0", "a1", "a2", "a1", "a3", "a3", "a2"))
    database.gate.set()
    await asyncio.gather(*tasks)
    assert [sorted(each) for each in database.sent] == [["a0"], ["a1", "a2"], ["a1", "a3"], ["a2", "a3"]]


async def test_aggregates_of_two_types_with_one_id_are_two(appends: SharedAppends, database: Database) -> None:
    tasks = await begin(appends, *ones("a0"), [request("a1", type="one")], [request("a1", type="two")])
    database.gate.set()
    await asyncio.gather(*tasks)
    assert database.sent == [["a0"], ["a1", "a1"]]


async def test_a_command_id_that_is_used_again_waits_for_the_next(appends: SharedAppends, database: Database) -> None:
    twice = [request("a3", commands=["d"]), request("a4", commands=["d"])]
    calls = [[request("a1", commands=["c"])], [request("a2", commands=["c"])], twice, [request("a5")]]
    tasks = await begin(appends, *ones("a0"), *calls)
    database.gate.set()
    await asyncio.gather(*tasks)
    assert database.sent == [["a0"], ["a1"], ["a2"], ["a3", "a4"], ["a5"]]


async def test_what_is_sent_together_has_limits(
    appends: SharedAppends, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MAX_REQUESTS", 3)
    monkeypatch.setattr(shared, "MAX_CHARACTERS", 200)
    large = [AppendRequest("thing", "a9", 0, [event("x" * 500)])]
    tasks = await begin(appends, *ones("a0", "a1", "a2", "a3", "a4"), large, *ones("a5"))
    database.gate.set()
    await asyncio.gather(*tasks)
    assert database.sent == [["a0"], ["a1", "a2", "a3"], ["a4"], ["a9"], ["a5"]]


async def test_who_is_cancelled_while_it_waits_is_not_sent(appends: SharedAppends, database: Database) -> None:
    first, second, third = await begin(appends, *ones("a0", "a1", "a2"))
    second.cancel()
    database.gate.set()
    assert await first == [Appended(1, 0)]
    assert await third == [Appended(1, 2)]
    assert second.cancelled()
    assert database.sent == [["a0"], ["a2"]]


async def test_who_is_cancelled_once_it_was_sent_affects_nobody(appends: SharedAppends, database: Database) -> None:
    first, second, third = await begin(appends, *ones("a0", "a1", "a2"))
    first.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert database.sent == [["a0"], ["a1", "a2"]]
    second.cancel()
    database.gate.set()
    assert await third == [Appended(1, 2)]
    assert [each.cancelled() for each in (first, second)] == [True, True]


@pytest.mark.parametrize(
    "error", [StoreFull("full"), StoreBusy("busy"), StoreUnavailable("away"), CommitOutcomeUnknown("?"), ValueError()]
)
async def test_a_failure_is_that_of_all_who_share(appends: SharedAppends, database: Database, error: Exception) -> None:
    tasks = await begin(appends, *ones("a0", "a1", "a2", "a3"))
    database.errors = [error, error]
    database.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 4
    assert database.sent == [["a0"], ["a1", "a2", "a3"]]
    assert await appends.append([request("a4")]) == [Appended(1, 4)]


async def test_what_the_database_refuses_fails_its_own_caller_only(appends: SharedAppends, database: Database) -> None:
    database.poison = "a2"
    tasks = await begin(appends, *ones("a0", "a1", "a2", "a3"))
    database.gate.set()
    *others, refused = [tasks[0], tasks[1], tasks[3], tasks[2]]
    assert await asyncio.gather(*others) == [[Appended(1, 0)], [Appended(1, 1)], [Appended(1, 3)]]
    with pytest.raises(TransactionFailed, match="refused a2"):
        await refused
    assert database.sent == [["a0"], ["a1", "a2", "a3"], ["a1"], ["a2"], ["a3"]]


async def test_who_has_waited_less_than_the_others_goes_on_waiting(database: Database) -> None:
    """Only the first of those who share has waited for its whole time when the database is found busy."""
    appends = SharedAppends(Line(), database.send, "a database", busy_timeout=3_600)
    tasks = await begin(appends, *ones("a0", "a1"))
    tasks += await begin(appends, *ones("a2"))
    database.errors = [StoreBusy("first"), StoreBusy("second")]
    database.gate.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(first), str(second), third] == ["first", "second", [Appended(1, 2)]]
    assert database.sent == [["a0"], ["a1", "a2"], ["a2"]]


async def test_a_place_is_kept_no_longer_than_it_may_be(database: Database) -> None:
    appends = SharedAppends(Line(), database.send, "a database", longest_wait=0.01)
    first, second = await begin(appends, *ones("a0", "a1"))
    with pytest.raises(StoreBusy, match=r"kept a database busy for 0.01 s; nothing was stored"):
        await second
    database.gate.set()
    assert await first == [Appended(1, 0)]
    assert database.sent == [["a0"]]


async def test_when_the_store_closes_those_who_wait_are_told(appends: SharedAppends, database: Database) -> None:
    first, second, third = await begin(appends, *ones("a0", "a1", "a2"))
    await asyncio.sleep(0)
    appends.close()
    for waiting in (second, third):
        with pytest.raises(StoreUnavailable, match="a database was closed; nothing was stored"):
            await waiting
    database.gate.set()
    assert await first == [Appended(1, 0)]
    assert database.sent == [["a0"]]


async def test_those_who_come_again_are_waited_for(appends: SharedAppends, database: Database) -> None:
    """Otherwise those who were not answered yet and those who were would take turns for ever."""
    database.gate.set()

    async def client(number: int) -> None:
        for _ in range(10):
            await appends.append([request(f"a{number}")])
            await asyncio.sleep(0)

    await asyncio.gather(*(client(number) for number in range(20)))
    assert len(database.sent) <= 20


async def test_a_shipment_that_ends_early_lets_the_next_begin(database: Database) -> None:
    async def lose(shipment: Shipment) -> Sequence[Outcome]:
        shipment.end()
        return await database.send(shipment)

    appends = SharedAppends(Line(), lose, "a database")
    tasks = await begin(appends, *ones("a0", "a1"))
    await begin(appends)
    assert database.sent == [["a0"], ["a1"]]
    database.gate.set()
    assert await asyncio.gather(*tasks) == [[Appended(1, 0)], [Appended(1, 1)]]


# --- the stores


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of requests of each transaction from now on."""
    sizes: list[int] = []
    run = sqlite_append._Append.run

    def counted(self: Any) -> Any:
        sizes.append(len(self._requests))
        return run(self)

    monkeypatch.setattr(sqlite_append._Append, "run", counted)
    if find_spec("asyncpg") is not None:
        from eventree.stores.postgres.append import AppendAttempt  # noqa: PLC0415 - its driver is an extra

        send = AppendAttempt._round

        async def counted_round(self: Any, connection: Any, numbers: Sequence[int], *, lost: bool) -> None:
            sizes.append(len(numbers))
            await send(self, connection, numbers, lost=lost)

        monkeypatch.setattr(AppendAttempt, "_round", counted_round)
    return sizes


async def test_appends_at_once_share_transactions(new_store: NewStore, transactions: list[int]) -> None:
    async with new_store() as store:
        heard: list[int] = []
        store.watch(heard.append)
        calls = [append(store, request(f"a{n}", events=2, type=f"type{n}")) for n in range(20)]
        outcomes = await asyncio.gather(*calls)
        assert sorted(outcomes, key=str) == sorted(([Appended(2, 2 * n)] for n in range(1, 21)), key=str)
        assert transactions == [1, 19]
        assert heard == [2, 40]
        live = (await store.read(0, 100, live=True)).events
        assert positions(live) == list(range(1, 41))
        assert live == (await store.read(0, 100)).events
        assert len({each.recorded_at for each in live}) == 2
        for outcome, n in zip(outcomes, range(20), strict=True):
            assert isinstance(outcome[0], Appended)
            assert live[outcome[0].position - 1].aggregate_id == f"a{n}"


async def test_a_command_id_of_two_calls_counts_for_the_first(new_store: NewStore) -> None:
    async with new_store() as store:
        calls = [append(store, request(f"a{n}", commands=["c"])) for n in range(4)]
        first, *others = await asyncio.gather(*calls)
        assert first == [Appended(1, 1)]
        assert others == [[DuplicateCommand(frozenset({"c"}))]] * 3


async def test_a_request_that_postgres_refuses_fails_its_own_caller_only(postgres_dsn: str) -> None:
    postgres = pytest.importorskip("eventree.stores.postgres")
    async with postgres.PostgresStore(postgres_dsn, notify=False) as store:
        bad = AppendRequest("thing", "bad", 0, [event("no JSON")])
        calls = [append(store, each) for each in (request("a"), request("b"), bad, request("c"))]
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[2], TransactionFailed)
        assert [results[n] for n in (0, 1, 3)] == [[Appended(1, n)] for n in (1, 2, 3)]
        assert positions(await log(store)) == [1, 2, 3]


async def test_a_request_that_sqlite_refuses_fails_its_own_caller_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sqlite_append._Append.run

    def picky(self: Any) -> Any:
        result = run(self)
        if any(each.aggregate_id == "bad" for each in self._requests):
            raise sqlite3.IntegrityError("no")
        return result

    monkeypatch.setattr(sqlite_append._Append, "run", picky)
    async with SQLiteStore(tmp_path / "events.db") as store:
        calls = [append(store, request(id)) for id in ("a", "b", "bad", "c")]
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[2], TransactionFailed)
        assert [results[n] for n in (0, 1, 3)] == [[Appended(1, n)] for n in (1, 2, 3)]
        assert positions(await log(store)) == [1, 2, 3]


async def test_callers_that_give_up_leave_the_others_alone(new_store: NewStore) -> None:
    async with new_store() as store:
        tasks = [asyncio.create_task(append(store, request(f"a{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[1::2]:
            task.cancel()
        kept = await asyncio.gather(*tasks[0::2])
        assert sorted(each.position for [each] in kept if isinstance(each, Appended)) == list(range(1, 11))
        assert {each.aggregate_id for each in await log(store)} == {f"a{n}" for n in range(0, 20, 2)}


async def test_closing_while_many_append_loses_nothing_acknowledged(new_store: NewStore) -> None:
    store = new_store()
    await store.__aenter__()
    tasks = [asyncio.create_task(append(store, request(f"a{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await store.__aexit__(None, None, None)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    acknowledged = {f"a{n}" for n, result in enumerate(results) if isinstance(result, list)}
    assert all(isinstance(each, list | StoreUnavailable) for each in results)
    async with store:
        assert {each.aggregate_id for each in await log(store)} == acknowledged
        with suppress(StoreUnavailable):
            assert await append(store, request("z")) == [Appended(1, len(acknowledged) + 1)]


async def test_systems_of_one_type_on_one_store_share_transactions_and_agree(
    new_store: NewStore, transactions: list[int]
) -> None:
    async with new_store() as store, AsyncExitStack() as stack:
        banks = [await stack.enter_async_context(EventSourcing(bank_account, store)) for _ in range(10)]
        await asyncio.gather(*(each.execute(f"own-{n}", OpenAccount("x")) for n, each in enumerate(banks)))
        (await banks[0].execute("shared", OpenAccount("x"))).unwrap()
        transactions.clear()
        own = [each.execute(f"own-{n}", Deposit(Decimal(1))) for n, each in enumerate(banks)]
        commits = [reply.unwrap() for reply in await asyncio.gather(*own)]
        assert [commit.sequence for commit in commits] == [2] * 10
        assert len({commit.position for commit in commits}) == 10
        assert len(transactions) <= 3
        assert sum(transactions) == 10
        contested = [each.execute("shared", Deposit(Decimal(1))) for each in banks]
        commits = [reply.unwrap() for reply in await asyncio.gather(*contested)]
        assert sorted(commit.sequence for commit in commits) == list(range(2, 12))
        for number, each in enumerate(banks):
            assert (await each.system_stats()).total_commands_processed == 2 + (number == 0) + 1


async def test_turns_and_appends_are_served_in_the_order_in_which_they_came(new_store: NewStore) -> None:
    async with new_store() as store:
        served: list[str] = []

        async def add(name: str) -> None:
            await append(store, request(name))
            served.append(name)

        async def take_turn(name: str) -> None:
            await store.read_and_append([StreamRead("thing", name)], lambda _: [request(name)])
            served.append(name)

        calls = [add("a1"), add("a2"), add("a3"), take_turn("t1"), add("a4"), take_turn("t2"), add("a5"), add("a6")]
        await asyncio.gather(*(asyncio.create_task(call) for call in calls))
        assert served == ["a1", "a2", "a3", "t1", "a4", "t2", "a5", "a6"]
        assert [each.aggregate_id for each in await log(store)] == served
