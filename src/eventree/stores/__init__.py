"""Event stores: the contract, the stores that keep it, and the bases for stores of your own."""

from eventree.stores.checked import CheckedStore
from eventree.stores.contract import EventStore
from eventree.stores.forwarding import ForwardingStore
from eventree.stores.memory import MemoryStore
from eventree.stores.sqlite import SQLiteStore

__all__ = ["CheckedStore", "EventStore", "ForwardingStore", "MemoryStore", "SQLiteStore"]
