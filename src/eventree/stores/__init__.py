"""Event stores: the contract, the stores that keep it, and the bases for stores of your own."""

from eventree.stores.checked import (
    CheckedStore as CheckedStore,
)
from eventree.stores.contract import (
    EventStore as EventStore,
)
from eventree.stores.forwarding import (
    ForwardingStore as ForwardingStore,
)
from eventree.stores.memory import (
    MemoryStore as MemoryStore,
)
from eventree.stores.sqlite import (
    SQLiteStore as SQLiteStore,
)
