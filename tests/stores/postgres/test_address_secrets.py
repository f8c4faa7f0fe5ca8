"""Passwords and what is stored never show: in no error, none of its causes, no log record and no repr."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventree import CommitOutcomeUnknown, EventStoreError, InvalidArgument, StoreUnavailable
from eventree.errors import StoreBusy, StoreUnusable, TransactionFailed
from eventree.stores.contract import AppendRequest, NewCommand, NewEvent
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import Connection
from eventree.testing.store_values import append, event, request, snapshot
from servers.postgres import PostgresServer, running_server
from stores.postgres.backends import held_head, psql, terminate, wait_for_locks

CANARY = "c4nary"
SECRET = AppendRequest(
    f"type {CANARY}",
    f"id {CANARY}",
    0,
    [event(f'{{"pin": "{CANARY}"}}', metadata=f'{{"user": "{CANARY}"}}', event_type=f"{CANARY}Happened")],
    [NewCommand(f"command {CANARY}", 1, 1)],
)


@pytest.fixture(autouse=True)
def every_log_record(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "eventree", "asyncio", "asyncpg"):
        caplog.set_level(logging.DEBUG, name)


@asynccontextmanager
async def quiet(caplog: pytest.LogCaptureFixture, *kinds: type[Exception]) -> AsyncIterator[None]:
    """Expect an error, and look for secrets in all that a person or a log could see of it."""
    with pytest.raises(kinds) as caught:
        yield
    shown = "".join(traceback.format_exception(caught.value))
    links: list[BaseException | None] = [caught.value]
    while links[-1] is not None:
        links.append(links[-1].__cause__ or links[-1].__context__)
    shown += "".join(f"{link!r} {link} {getattr(link, 'detail', '')}" for link in links) + caplog.text
    assert type(caught.value).__name__ in shown
    assert CANARY not in shown


def with_password(dsn: str) -> str:
    return dsn.replace("eventree@", f"eventree:{CANARY}@")


async def test_a_password_is_in_no_repr(postgres_dsn: str) -> None:
    async with PostgresStore(with_password(postgres_dsn)) as store:
        await append(store, SECRET)
        parts = [store, store._writer, store._reader, store._notifier, store._address, vars(store)]
        assert CANARY not in " ".join(f"{part!r} {part}" for part in parts)


async def test_a_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    async with quiet(caplog, StoreUnavailable):
        await PostgresStore(f"postgresql://u:{CANARY}@127.0.0.1:1/db").__aenter__()


async def test_a_server_that_goes_away(
    postgres_dsn: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgresStore(with_password(postgres_dsn), timeout=1.0) as store:
        await append(store, request("a"))
        await asyncio.to_thread(postgres_server.kill)
        async with quiet(caplog, StoreUnavailable, CommitOutcomeUnknown):  # its server process may take long to die
            await append(store, SECRET)
        async with quiet(caplog, StoreUnavailable):
            await append(store, SECRET)
        async with quiet(caplog, StoreUnavailable):
            await store.find_commands([f"command {CANARY}"])


async def test_a_wrong_password(postgres_binaries: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_server(postgres_binaries) as server:
        server.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        (server._data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        await asyncio.to_thread(server.restart)
        async with quiet(caplog, StoreUnusable):
            await PostgresStore(f"postgresql://guest:{CANARY}@127.0.0.1:{server.port}/postgres").__aenter__()


async def test_a_driver_that_cannot_read_the_dsn(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, port in [
        ("sslmode=nonsense", ""),
        ("sslmode=verify-full", ""),
        ("host=localhost", "no port"),
        ("port=1,2", ""),
        (f"password={CANARY}%ff", "0x1538"),
    ]:
        monkeypatch.setenv("PGPORT", port)
        async with quiet(caplog, StoreUnusable):
            await PostgresStore(f"postgresql://u:{CANARY}@/db?{options}").__aenter__()


async def test_a_request_that_waited_in_vain(postgres_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    async with PostgresStore(postgres_dsn, timeout=0.2) as store, held_head(postgres_dsn), quiet(caplog, StoreBusy):
        await append(store, SECRET)


async def test_a_read_whose_connection_was_lost(
    store: PostgresStore, postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    await append(store, SECRET)
    async with psql(postgres_dsn) as db, psql(postgres_dsn) as holder:
        await holder.execute("BEGIN; LOCK TABLE streams")
        waiting = asyncio.create_task(store.find_commands([f"command {CANARY}"]))
        await terminate(db, await wait_for_locks(db))
        async with quiet(caplog, StoreUnavailable):
            await waiting


async def test_json_that_the_server_does_not_take(store: PostgresStore, caplog: pytest.LogCaptureFixture) -> None:
    for text in (f"{{{CANARY}", f'"{CANARY}', f"{{}} {CANARY}", f'{{"a": {CANARY}}}', "{" * 9_000 + CANARY):
        async with quiet(caplog, EventStoreError):
            await append(store, AppendRequest("t", "a", 0, [event(text)]))
        async with quiet(caplog, EventStoreError):
            await store.save_snapshots([snapshot("a", 1, payload=text)])
    assert await store.head() == 0


async def test_a_value_that_the_driver_would_not_take(store: PostgresStore, caplog: pytest.LogCaptureFixture) -> None:
    wrong: Any = f"no UUID, {CANARY}"
    wrong_event = NewEvent("e", 1, f'"{CANARY}"', "{}", wrong)
    async with asyncio.timeout(3):
        async with quiet(caplog, InvalidArgument):
            await append(store, AppendRequest("t", "a", 0, [wrong_event]))
    await append(store, request("a"))


Use = Callable[[Connection], Awaitable[object]]
VIOLATIONS: dict[str, str] = {
    "a unique key": "INSERT INTO commands VALUES ('{0}', 1, 1, 1), ('{0}', 1, 1, 1)",
    "a check": "INSERT INTO streams (aggregate_type, aggregate_id, sequence) VALUES ('{0}', '{0}', -1)",
    "a check of JSON": "INSERT INTO events VALUES (0, 1, 1, '{0}', 1, '\"{0}\"', '{{}}', gen_random_uuid())",
    "not null": "INSERT INTO commands VALUES ('{0}', NULL, 1, 1)",
    "JSON": "INSERT INTO events VALUES (1, 1, 1, '{0}', 1, '{{\"a\": {0}', '{{}}', gen_random_uuid())",
    "a UUID": "INSERT INTO events VALUES (1, 1, 1, '{0}', 1, '{{}}', '{{}}', '{0}')",
    "a number": "INSERT INTO commands VALUES ('x', '{0}', 1, 1)",
    "a range": "INSERT INTO commands VALUES ('{0}', 99999999999999999999, 1, 1)",
}


@pytest.mark.parametrize("what", VIOLATIONS)
async def test_values_that_break_a_rule(store: PostgresStore, caplog: pytest.LogCaptureFixture, what: str) -> None:
    statement = VIOLATIONS[what].format(CANARY)
    use: Use = lambda db: db.execute(statement)  # noqa: E731
    assert store._writer is not None
    async with quiet(caplog, TransactionFailed):
        await store._writer.run(use)


async def test_a_log_of_a_lost_answer(
    store: PostgresStore, postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with held_head(postgres_dsn) as holder, psql(postgres_dsn) as db:
        waiting = asyncio.create_task(append(store, SECRET))
        await terminate(db, await wait_for_locks(db))
        await holder.execute("COMMIT")
        await waiting
    assert CANARY not in caplog.text
    assert (await store.read(0, 1)).events[0].commit_id == SECRET.events[0].commit_id
    assert isinstance(SECRET.events[0].commit_id, UUID)
