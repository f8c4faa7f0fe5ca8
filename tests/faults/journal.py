"""A file in which several processes write down the steps of their callers, in the order in which they happen."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from faults.history import Acknowledged, Invoked, Refused, Step, Unknown

_STEPS: dict[str, type[Step]] = {kind.__name__: kind for kind in (Invoked, Acknowledged, Refused, Unknown)}


class Journal:
    """One file for all: what stands before another line in it was written before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, step: Step) -> None:
        line = json.dumps({"step": type(step).__name__, **asdict(step)})
        # Begins a line of its own, as whoever wrote before may have been killed in the middle of a line.
        os.write(self._file, f"\n{line}\n".encode())

    def read(self) -> list[Step]:
        """Return the steps of all; a line that somebody did not get to finish never happened."""
        return [step for line in self._path.read_text().splitlines() if (step := _parse(line)) is not None]

    def close(self) -> None:
        os.close(self._file)


def _parse(line: str) -> Step | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return _STEPS[row.pop("step")](**row)
