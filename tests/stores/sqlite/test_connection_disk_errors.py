"""What the SQLite store answers when the disk refuses to sync a commit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventree.stores import SQLiteStore
from stores.store_values import log

NO_SYNC = r"""
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int sync_file(void) {
  if (access(getenv("DISK_FAILS"), F_OK) != 0) return 0;
  errno = EIO;
  return -1;
}
int fsync(int file) { return sync_file(); }
int fdatasync(int file) { return sync_file(); }
"""

APPEND = """
import asyncio, os, signal, sys
from pathlib import Path
from eventree.stores import SQLiteStore
from stores.store_values import append, request

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await append(store, request("before"))
        Path(os.environ["DISK_FAILS"]).touch()
        try:
            await append(store, request("during"))
        except Exception as error:
            print(type(error).__name__, await store.head(), flush=True)
        Path(os.environ["DISK_FAILS"]).unlink()
        if sys.argv[2] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        await append(store, request("after"))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that takes over fsync."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("library")
    (folder / "no_sync.c").write_text(NO_SYNC)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "no_sync.so", "no_sync.c"], cwd=folder, check=True, timeout=60)
    return folder / "no_sync.so"


def answer_and_head(library: Path, file: Path, then: str) -> tuple[str, int]:
    """Run APPEND; return the error of the append that the disk failed, and the head after it."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "DISK_FAILS": str(file.with_name("fails")),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    arguments: list[str | Path] = [sys.executable, "-c", APPEND, file, then]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=30, check=False)
    error, head = done.stdout.split()
    return error, int(head)


async def stored(file: Path) -> list[str]:
    async with SQLiteStore(file) as store:
        return [event.aggregate_id for event in await log(store)]


async def test_a_commit_that_could_not_be_synced_has_an_unknown_outcome(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    error, head = answer_and_head(library, file, "die")
    assert head == 1
    assert await stored(file) in (["before"], ["before", "during"])
    assert error == "CommitOutcomeUnknown"


async def test_a_store_works_again_when_its_disk_does(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    _, head = answer_and_head(library, file, "go on")
    assert head == 1
    assert await stored(file) == ["before", "after"]
