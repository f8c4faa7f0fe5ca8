"""The files of an open database: whether their paths still lead to those that were opened."""

import os
from collections.abc import Iterator
from typing import Final

from eventree.errors import StoreUnusable

_REMEDY: Final = (
    "while the store was open, so it reads and writes files that no path leads to; nothing is stored any more. "
    "Close all stores on this path, put the right database there, then open them again"
)


class OpenedFiles:
    """Remember which files the paths of a database led to, and notice when they are deleted, moved or replaced.

    SQLite keeps using the files it has opened. If they are no longer where their paths lead, commits would be
    acknowledged and then lost, or the next process would mix the log of one file with another file.

    Attributes:
        path: The absolute path of the database: connections opened later must not depend on the working directory.
    """

    def __init__(self, path: str) -> None:
        """Remember the paths; the files need not exist yet."""
        self.path = os.path.abspath(path)  # noqa: PTH100 - unlike `Path.absolute`, it changes nothing else
        self._name = path
        followed = os.path.realpath(path)  # SQLite follows links before it names its other files
        self._paths = (self.path, f"{followed}-wal", f"{followed}-shm")
        self._known: dict[str, tuple[int, int]] = {}
        self._reason = ""

    def remember(self) -> None:
        """Take the files that are at the paths now for those that were opened, unless they are known already."""
        for path in self._paths:
            if path not in self._known and (found := _identity(path)) is not None:
                self._known[path] = found

    def check(self) -> None:
        """Raise `StoreUnusable` if a path no longer leads to the file that was opened, now or at an earlier check."""
        if not self._reason:
            self._reason = next(self._changes(), "")
        self.refuse_if_changed()

    def refuse_if_changed(self) -> None:
        """Raise `StoreUnusable` if an earlier check has found a change."""
        if self._reason:
            raise StoreUnusable(self._name, self._reason)

    def _changes(self) -> Iterator[str]:
        for path, known in self._known.items():
            found = _identity(path)
            if found != known:
                what = "cannot be found, as it was deleted or moved" if found is None else "was replaced"
                yield f"{path} {what} {_REMEDY}"


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from all others, None if it cannot be found."""
    try:
        found = os.stat(path)  # noqa: PTH116 - every commit waits for this, and it takes a third of `Path.stat`
    except OSError:
        return None
    return found.st_dev, found.st_ino
