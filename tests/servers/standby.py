"""A standby of a test's server, made from a copy of its data."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.postgres import PostgresServer, _open_folder


@contextmanager
def running_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Run a standby that follows a server, by the name of `standby`; the server is restarted for the copy."""
    folder = Path(tempfile.mkdtemp(prefix="eventree-standby-", dir=_open_folder()))
    folder.chmod(0o755)
    follow = f"host=127.0.0.1 port={primary.port} user=eventree application_name=standby"
    standby = PostgresServer(folder, primary._binaries, settings={"primary_conninfo": follow})
    try:
        primary.stop()
        owner = primary._data.stat()
        shutil.copytree(primary._data, standby._data)
        for path in (folder, *folder.rglob("*")):  # a copy belongs to whoever made it
            shutil.chown(path, owner.st_uid, owner.st_gid)
        (standby._data / "standby.signal").touch()
        primary.start()
        standby.start()
        yield standby
    finally:
        standby.kill()
        shutil.rmtree(folder)


def promote(standby: PostgresServer) -> None:
    """Make a standby a primary, on a timeline of its own."""
    assert standby.execute("SELECT pg_promote(true, 60)") == [(True,)]
