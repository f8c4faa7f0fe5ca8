"""Where events are kept: the contract and the stores that keep it."""

from eventree.stores.contract import EventStore
from eventree.stores.memory import MemoryStore
from eventree.stores.sqlite import SQLiteStore

__all__ = ["EventStore", "MemoryStore", "SQLiteStore"]
