"""The contract of event stores (`eventree.stores.contract`) as tests: one file for each part of the contract."""

from eventree.testing.suite.appends import AppendPromises
from eventree.testing.suite.backwards import BackwardsPromises, EventTypePromises
from eventree.testing.suite.checkpoints import CheckpointPromises
from eventree.testing.suite.commands import CommandPromises
from eventree.testing.suite.exclusive import ExclusivePromises
from eventree.testing.suite.history import HistoryPromises
from eventree.testing.suite.lifecycle import LifecyclePromises
from eventree.testing.suite.limits import LimitPromises
from eventree.testing.suite.listing import ListingPromises
from eventree.testing.suite.log import LogPromises
from eventree.testing.suite.requests import RequestPromises
from eventree.testing.suite.shared import SharedStoreSuite
from eventree.testing.suite.snapshots import SnapshotPromises
from eventree.testing.suite.streams import StreamPromises
from eventree.testing.suite.transactions import TransactionalStoreSuite
from eventree.testing.suite.watch import WatchPromises

__all__ = ["EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"]


class EventStoreSuite(
    AppendPromises,
    ExclusivePromises,
    CommandPromises,
    StreamPromises,
    LogPromises,
    BackwardsPromises,
    EventTypePromises,
    ListingPromises,
    WatchPromises,
    CheckpointPromises,
    RequestPromises,
    SnapshotPromises,
    HistoryPromises,
    LimitPromises,
    LifecyclePromises,
):
    """Test every promise of the `EventStore` contract; a store that passes works with `EventSourcing`.

    Derive a class whose name begins with `Test`, and give it a fixture `store` that yields an empty, open store. The
    suite needs pytest and pytest-asyncio, with `asyncio_mode = "auto"` or the class marked `@pytest.mark.asyncio`:

        class TestMyStore(EventStoreSuite, SharedStoreSuite):
            @pytest.fixture
            def new_store(self, tmp_path: Path) -> Callable[[], EventStore]:
                return lambda: MyStore(tmp_path / "events")

            @pytest_asyncio.fixture
            async def store(self, new_store: Callable[[], EventStore]) -> AsyncIterator[EventStore]:
                async with new_store() as store:
                    yield store

    Add `SharedStoreSuite` and its fixture `new_store` if the data outlives the store object, and
    `TransactionalStoreSuite` if the store has transactions for projections. Derive the store from
    `eventree.stores.CheckedStore` to keep the promises about limits.
    """
