"""Looking at the tails of stores, of whatever kind."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest

from eventree.stores import SQLiteStore
from eventree.stores.live import Tail
from eventree.stores.sqlite import reads as sqlite_reads

if TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore

AnyStore: TypeAlias = "SQLiteStore | PostgresStore"


@dataclass
class Reads:
    """The positions after which databases were asked for the log."""

    after: list[int] = field(default_factory=list)


def tail_of(store: AnyStore) -> Tail:
    return store._tail


def counted(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count what is read of the log in a database from now on."""
    reads = Reads()
    read = sqlite_reads.read_log

    def read_log(db: Any, after: int, *rest: Any) -> Any:
        reads.after.append(after)
        return read(db, after, *rest)

    monkeypatch.setattr(sqlite_reads, "read_log", read_log)
    if find_spec("asyncpg") is not None:
        from eventree.stores.postgres import reads as postgres_reads  # noqa: PLC0415 - its driver is an extra

        ask = cast("Callable[..., Awaitable[Any]]", postgres_reads.read_log)

        async def ask_log(db: Any, after: int, *rest: Any) -> Any:
            reads.after.append(after)
            return await ask(db, after, *rest)

        monkeypatch.setattr(postgres_reads, "read_log", ask_log)
    return reads
