"""What cannot be the path of a database is refused when it is given, not by the driver when it is opened."""

from pathlib import Path
from typing import Any

import pytest

from eventree import InvalidArgument, SQLiteStore


class Bytes:
    def __fspath__(self) -> bytes:
        return b"x.db"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (b"x.db", "must be a str or a Path, got b'x.db'"),
        (Bytes(), "must be a str or a Path"),
        (7, "must be a str or a Path, got 7"),
        (None, "must be a str or a Path"),
        ("a\0b", "without NUL"),
        (Path("a\0b"), "without NUL"),
        ("\ud800", "lone surrogates"),
        ("", "must be the path of a file"),
        (":memory:", "use MemoryStore"),
        ("x" * 256, "too long"),
        ("x" * 250, "too long"),  # with the suffix of the journal
        ("/".join(["d" * 100] * 6), "too long"),  # for SQLite
        ("/".join(["d" * 100] * 60), "too long"),
    ],
    ids=range(13),
)
def test_what_is_no_path_is_refused(path: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        SQLiteStore(path)
    assert refused.value.name == "path"


@pytest.mark.parametrize("length", [1, 200, 247])
async def test_a_name_that_the_file_system_takes_is_opened(tmp_path: Path, length: int) -> None:
    async with SQLiteStore(tmp_path / ("é" if length == 1 else "x" * length)) as store:
        assert await store.head() == 0


async def test_the_longest_path_that_is_not_refused_can_be_opened(tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 400:
        folder /= "d" * 50
    folder.mkdir(parents=True)
    refused = 0
    for length in range(520 - len(str(folder)), 0, -1):
        try:
            store = SQLiteStore(folder / ("x" * length))
        except InvalidArgument:
            refused += 1
            continue
        async with store:
            assert await store.head() == 0
        break
    assert refused


def test_a_path_around_a_loop_of_links_is_left_to_the_driver(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "loop" in repr(SQLiteStore(tmp_path / "loop" / "x.db"))
