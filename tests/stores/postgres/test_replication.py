"""Synchronous standbys: no answer says that something is stored before the standby has it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventree import Err, EventSourcing
from eventree.errors import CommitOutcomeUnknown
from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.replication import tells_of_unconfirmed_commit
from eventree.testing.store_values import append, log, positions, request
from servers.postgres import PostgresServer, running_server
from servers.standby import promote, running_standby
from sourcing.ledger import add, ledger
from stores.postgres.backends import psql, terminate, within
from stores.postgres.test_append_lost_answers import lost_answers

_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'eventree'"


class Pair:
    """A primary whose commits wait for a standby, and a store on it."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self.primary = primary
        self.standby = standby
        self.dsn = primary.dsn()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[Any]:
        """Freeze the standby; the connection given is a DBA's."""
        self.standby.pause()
        try:
            async with psql(self.dsn, synchronous_commit="local") as dba:
                yield dba
        finally:
            self.standby.resume()


@pytest.fixture(scope="module")
def servers(postgres_binaries: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with running_server(postgres_binaries) as primary, running_standby(primary) as standby:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        primary.execute("CREATE TABLE once (x int)")  # returns when the standby has it
        yield primary, standby


@pytest.fixture
def pair(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[Pair]:
    pair = Pair(*servers)
    yield pair
    pair.primary.execute("DROP SCHEMA IF EXISTS eventree CASCADE")


async def waiting(dba: Any, answer: "asyncio.Task[Any]") -> list[int]:
    """Return the server processes of stores that wait for the standby, as soon as there are any."""
    async with asyncio.timeout(30):
        while True:
            assert not answer.done(), answer
            if found := [process for (process,) in await dba.fetch(_WAITING)]:
                return found
            await asyncio.sleep(0.01)  # the server tells nobody


async def cancelled(dba: Any, waits: "asyncio.Task[Any]") -> Any:
    """Let a DBA cancel what waits for the standby; return its outcome."""
    for process in await waiting(dba, waits):
        await dba.execute("SELECT pg_cancel_backend($1)", process)
    await asyncio.wait([waits])
    return waits.exception() or waits.result()


pytestmark = pytest.mark.slow


async def test_an_append_whose_wait_is_cancelled_has_no_known_outcome(pair: Pair) -> None:
    async with PostgresStore(pair.dsn) as store:
        await append(store, request("a"))
        async with pair.frozen() as dba:
            waits = asyncio.create_task(append(store, request("a", after=1, events=2, commands=["c"])))
            assert isinstance(await cancelled(dba, waits), CommitOutcomeUnknown)
        assert await append(store, request("b")) == [Appended(1, 4)]  # the warning was about the other commit


async def test_a_known_command_is_answered_when_the_standby_has_it(pair: Pair) -> None:
    async with PostgresStore(pair.dsn) as store:
        async with pair.frozen() as dba:
            waits = asyncio.create_task(append(store, request("a", commands=["c"])))
            await cancelled(dba, waits)
            again = request("a", after=1, commands=["c"])
            assert await append(store, again) == [DuplicateCommand(frozenset({"c"}))]
            looking = asyncio.create_task(store.find_commands(["c"]))
            assert await waiting(dba, looking)
            assert await store.find_commands(["unknown"]) == {}  # which nobody needs to confirm
        assert set(await looking) == {"c"}
        assert positions(await log(store)) == [1]


@pytest.mark.parametrize("others", [[], [request("b")]], ids=["alone", "beside one with events"])
async def test_what_was_there_already_is_confirmed_when_the_standby_has_it(
    pair: Pair, others: list[AppendRequest]
) -> None:
    nothing_new = replace(request("a", after=1, events=0), confirms=True)
    async with PostgresStore(pair.dsn) as store:
        async with pair.frozen() as dba:
            await cancelled(dba, asyncio.create_task(append(store, request("a"))))
            confirming = asyncio.create_task(append(store, nothing_new, *others))
            assert await waiting(dba, confirming)
            await cancelled(dba, confirming)
            assert isinstance(confirming.exception(), CommitOutcomeUnknown)
            assert await append(store, request("a", after=1, events=0)) == [Appended(1, 1)]  # as for a refusal
            assert await append(store, replace(nothing_new, expected_sequence=7)) == [Conflict(1)]
        assert await append(store, nothing_new) == [Appended(1, 1)]


async def test_a_command_that_finds_its_work_done_is_ok_when_the_standby_has_it(pair: Pair) -> None:
    async with PostgresStore(pair.dsn) as store, EventSourcing(ledger, store) as system:
        async with pair.frozen() as dba:
            first = asyncio.create_task(system.execute("a", add(1), timeout=60))
            assert isinstance(await cancelled(dba, first), Err)
            again = asyncio.create_task(system.execute("a", add(), timeout=60))
            assert await waiting(dba, again)
        commit = (await again).unwrap()
        assert (commit.events, commit.sequence) == ((), 1)


async def test_a_known_command_that_is_never_confirmed_has_no_known_outcome(pair: Pair) -> None:
    async with PostgresStore(pair.dsn, timeout=0.5, notify=False) as store:
        async with pair.frozen() as dba:
            waits = asyncio.create_task(append(store, request("a", commands=["c"])))
            await cancelled(dba, waits)
            looking = asyncio.create_task(store.find_commands(["c"]))
            assert isinstance(await cancelled(dba, looking), CommitOutcomeUnknown)
            with pytest.raises(CommitOutcomeUnknown, match="standby has not confirmed"):
                await store.find_commands(["c"])
        assert set(await store.find_commands(["c"])) == {"c"}


async def test_an_append_that_lost_its_wait_with_its_connection_waits_again(pair: Pair) -> None:
    async with PostgresStore(pair.dsn) as store:
        async with pair.frozen() as dba:
            appending = asyncio.create_task(append(store, request("a", events=2)))
            await terminate(dba, await waiting(dba, appending))
            assert await waiting(dba, appending)
        assert await appending == [Appended(2, 2)]


async def test_an_append_whose_answer_was_lost_is_answered_when_the_standby_has_it(pair: Pair) -> None:
    """Sent again it fails as a whole, as another's command id is known by now, so that statement does not wait."""
    async with PostgresStore(pair.dsn) as store, PostgresStore(pair.dsn) as other:
        paused = asyncio.Event()

        async def others_go_on() -> None:
            await append(other, request("b"), request("z", commands=["x"]))
            pair.standby.pause()
            paused.set()

        with lost_answers(store, 1, others_go_on):
            ours = request("a", events=2, commands=["c"])
            appending = asyncio.create_task(append(store, ours, request("b", after=1, commands=["x"])))
            await within(30, paused)
            try:
                async with psql(pair.dsn, synchronous_commit="local") as dba:
                    assert await waiting(dba, appending)
            finally:
                pair.standby.resume()
            assert await appending == [Appended(2, 2), DuplicateCommand(frozenset({"x"}))]


async def test_a_reader_looks_commands_up_without_a_commit(pair: Pair) -> None:
    async with PostgresStore(pair.dsn) as store:
        await append(store, request("a", commands=["c"]))
    for dsn in (pair.dsn, pair.standby.dsn()):
        async with PostgresStore(dsn, read_only=True) as store:
            assert set(await store.find_commands(["c"])) == {"c"}


async def test_what_is_acknowledged_survives_a_failover(postgres_binaries: Path) -> None:
    with running_server(postgres_binaries) as primary, running_standby(primary) as standby:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        async with PostgresStore(primary.dsn()) as store:
            await append(store, request("a", commands=["c"]))
            assert set(await store.find_commands(["c"])) == {"c"}
        primary.kill()
        promote(standby)
        async with PostgresStore(standby.dsn()) as store:
            again = request("a", after=1, commands=["c"])
            assert await append(store, again) == [DuplicateCommand(frozenset({"c"}))]


class Message:
    def __init__(self, file: str | None) -> None:
        self.server_source_filename = file


@pytest.mark.parametrize(
    ("file", "tells"),
    [("syncrep.c", True), ("src/backend/replication/syncrep.c", True), ("pl_exec.c", False), (None, False)],
)
def test_other_warnings_say_nothing_about_a_commit(file: str | None, tells: bool) -> None:  # noqa: FBT001
    assert tells_of_unconfirmed_commit(Message(file)) is tells
