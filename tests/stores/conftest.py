from collections.abc import Callable
from pathlib import Path

import pytest

from eventree.stores import SQLiteStore
from stores.followers import AnyStore


@pytest.fixture(params=["SQLite", "Postgres"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AnyStore]:
    """Return a function that makes a store, not open, on the same data each time, for each kind that can be shared."""
    if request.param == "SQLite":
        return lambda: SQLiteStore(tmp_path / "events.db", busy_timeout=30)
    dsn = str(request.getfixturevalue("postgres_dsn"))
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra

    return lambda: PostgresStore(dsn, notify=False)
