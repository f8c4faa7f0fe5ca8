"""Check the path of a database before anything is opened."""

import os
from errno import ENAMETOOLONG
from os import PathLike
from pathlib import Path
from typing import Final

from eventree.errors import InvalidArgument

_LONGEST_SUFFIX: Final = "-journal"
"""What SQLite appends to the name of the database for the files beside it; `-wal` and `-shm` are shorter."""

_MAX_BYTES: Final = 512
"""The longest absolute path that SQLite opens on Unix, with its suffix."""


def check_path(path: str | PathLike[str]) -> str:
    """Return the path of a database as text; raise `InvalidArgument` if it can be none."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InvalidArgument("path", f"must be a str or a Path, got {path!r}")
    if not text or text.startswith((":memory:", "file:")):
        raise InvalidArgument(
            "path", f"must be the path of a file, got {text!r}; use MemoryStore(), or a temporary file"
        )
    if "\0" in text or not _is_encodable(text):
        raise InvalidArgument("path", f"must be without NUL and lone surrogates, got {text!r}")
    if _is_too_long(Path(text + _LONGEST_SUFFIX)):
        raise InvalidArgument("path", f"is too long, as SQLite appends {_LONGEST_SUFFIX!r} to it: {text!r}")
    return text


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _is_too_long(path: Path) -> bool:
    """Return whether a path is longer than the file system or SQLite can take."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == ENAMETOOLONG:  # the limits of file systems differ
            return True
    try:
        return os.name == "posix" and len(os.fsencode(path.resolve())) > _MAX_BYTES
    except (OSError, RuntimeError):  # a loop of symbolic links, for example
        return False
