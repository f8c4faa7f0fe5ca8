"""The processes that tests start: what a test leaves running is ended with it."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TASKS = Path("/proc/self/task")


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent dies, so that `children` finds them (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return the ids of this process's children that still run, empty where the system does not tell."""
    return {pid for pid in _children() if _is_running(pid)}


def reap() -> None:
    """Collect the exit status of children that have ended: no one else does so for adopted ones."""
    for pid in _children():
        if not _is_running(pid):
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


def _children() -> set[int]:
    found: set[int] = set()
    for task in _TASKS.glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, task.read_text().split()))
    return found


def end(pids: set[int]) -> list[str]:
    """Kill processes, and the groups that they lead; return what they were running."""
    names = [_command(pid) for pid in sorted(pids)]
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
    return names


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    return str(pid)
