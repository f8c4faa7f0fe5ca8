"""The server of the tests is a real one: it keeps what was committed, however it ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers.postgres import PostgresServer, find_binaries, running_server

FAIL = """
import sys
from pathlib import Path
from servers.postgres import running_server
with running_server(Path(sys.argv[1])) as server:
    print(server.dsn(), server._folder, flush=True)
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def server(postgres_binaries: Path) -> Iterator[PostgresServer]:
    with running_server(postgres_binaries) as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> str:
    server.start()
    dsn = server.new_database()
    server.execute("CREATE TABLE kept (number int)", dsn)
    server.execute("INSERT INTO kept VALUES (7)", dsn)
    return dsn


@pytest.mark.parametrize("end", [PostgresServer.kill, PostgresServer.stop])
def test_a_committed_row_survives_the_end_of_the_server(
    server: PostgresServer, database: str, end: Callable[[PostgresServer], None]
) -> None:
    end(server)
    assert not server.is_running
    with pytest.raises(ConnectionRefusedError):
        server.execute("SELECT 1", database)
    server.start()
    assert server.execute("SELECT number FROM kept", database) == [(7,)]


@pytest.mark.usefixtures("database")
def test_a_killed_server_has_to_recover(server: PostgresServer) -> None:
    server.kill()
    before = len(server.log)
    server.start()
    assert any("was not properly shut down" in line for line in server.log[before:])


def test_a_stopped_server_has_nothing_to_recover(server: PostgresServer) -> None:
    before = len(server.log)
    server.restart()
    assert not any("was not properly shut down" in line for line in server.log[before:])


def test_it_is_as_careful_as_in_production(server: PostgresServer, database: str) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    assert [server.execute(f"SHOW {name}", database) for name in names] == [[("on",)]] * 3


def test_a_new_database_is_empty_and_sorts_bytes(server: PostgresServer) -> None:
    dsn = server.new_database()
    assert dsn == server.dsn(dsn.rpartition("/")[2])
    assert server.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", dsn) == [(0,)]
    assert server.execute(
        "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()", dsn
    ) == [("UTF8", "C")]


def test_a_paused_server_goes_on_where_it_was(server: PostgresServer, database: str) -> None:
    server.pause()
    with pytest.raises(TimeoutError):
        server.execute("SELECT number FROM kept", database, timeout=0.2)
    server.resume()
    assert server.execute("SELECT number FROM kept", database) == [(7,)]


def test_starting_twice_is_starting_once(server: PostgresServer, database: str) -> None:
    server.start()
    assert server.execute("SELECT number FROM kept", database) == [(7,)]


def test_nothing_is_left_of_a_server_whose_test_fails(postgres_binaries: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        [sys.executable, "-c", FAIL, postgres_binaries],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    dsn, folder = ended.stdout.split()
    assert ended.returncode == 3
    assert not Path(folder).exists()
    with pytest.raises(ConnectionRefusedError):
        PostgresServer(Path(folder), postgres_binaries).execute("SELECT 1", dsn)


def test_binaries_that_cannot_run_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).touch()
    monkeypatch.setattr("servers.postgres._candidates", lambda: iter([tmp_path]))
    assert find_binaries() is None
