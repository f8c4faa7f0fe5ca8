"""Event stores: the contract, the stores that fulfil it, and base classes for your own stores."""

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
