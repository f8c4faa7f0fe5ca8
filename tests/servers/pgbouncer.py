"""A real PgBouncer in front of a test's server, where it is installed."""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers.postgres import _free_port, _open_folder, _ordinary_user

_CONFIG = """
[databases]
* = host=127.0.0.1 port={server} user=eventree
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 40
{more}
"""
_PLACES = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
_PATIENCE = 30.0


@contextmanager
def running_pgbouncer(dsn: str, mode: str, more: str = "") -> Iterator[str]:
    """Run PgBouncer and return the DSN through it; skip the test where there is none."""
    program = shutil.which("pgbouncer", path=_PLACES)
    if program is None:
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    start, _, rest = dsn.rpartition(":")
    server, _, database = rest.partition("/")
    port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="eventree-pgbouncer-", dir=_open_folder()))
    folder.chmod(0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(_CONFIG.format(server=server, port=port, mode=mode, more=more))
    process = subprocess.Popen([program, config], **_ordinary_user(), cwd="/", stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_up(process)
        yield f"{start}:{port}/{database}"
    finally:
        process.kill()
        process.wait(_PATIENCE)
        shutil.rmtree(folder)


def _wait_until_up(process: subprocess.Popen[str]) -> None:
    said: list[str] = []
    up = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        with process.stderr as output:
            for line in output:
                said.append(line)
                if "process up" in line:
                    up.set()
        up.set()

    threading.Thread(target=listen, daemon=True).start()
    if not up.wait(_PATIENCE) or process.poll() is not None:
        raise RuntimeError("PgBouncer did not start:\n" + "".join(said[-20:]))
