"""Who works on a query: a name that other processes of the same machine can look behind."""

import os
from pathlib import Path
from uuid import uuid4

_PROCESSES = Path("/proc/self/ns/pid")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def worker_name() -> str:
    """Return a name for a worker of this process; no other has it."""
    return f"{_machine()}/{os.getpid()}/{uuid4().hex}"


def is_dead(worker: str) -> bool:
    """Return whether a worker was of a process that is no more; False where nobody can tell.

    Only processes that see each other can: of one boot of one machine, in one namespace of processes (Linux).
    """
    machine, _, rest = worker.rpartition("/")[0].rpartition("/")
    if not machine or machine != _machine() or not rest.isdecimal():
        return False
    return not Path(f"/proc/{rest}").exists()


def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()}/{os.readlink(_PROCESSES)}"  # noqa: PTH115 - it is no path
    except OSError:
        return ""
