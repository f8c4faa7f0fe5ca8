"""The embedded store: one SQLite file in WAL mode, accessed through aiosqlite."""

from eventree.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
