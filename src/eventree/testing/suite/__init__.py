"""Every promise of `eventree.stores.contract` as a test, one file per kind of promise."""

from eventree.testing.suite.appends import AppendPromises
from eventree.testing.suite.backwards import BackwardsPromises, EventTypePromises
from eventree.testing.suite.checkpoints import CheckpointPromises
from eventree.testing.suite.commands import CommandPromises
from eventree.testing.suite.lifecycle import LifecyclePromises
from eventree.testing.suite.limits import LimitPromises
from eventree.testing.suite.listing import ListingPromises
from eventree.testing.suite.log import LogPromises
from eventree.testing.suite.shared import SharedStoreSuite
from eventree.testing.suite.snapshots import SnapshotPromises
from eventree.testing.suite.streams import StreamPromises
from eventree.testing.suite.transactions import TransactionalStoreSuite
from eventree.testing.suite.watch import WatchPromises

__all__ = ["EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"]


class EventStoreSuite(
    AppendPromises,
    CommandPromises,
    StreamPromises,
    LogPromises,
    BackwardsPromises,
    EventTypePromises,
    ListingPromises,
    WatchPromises,
    CheckpointPromises,
    SnapshotPromises,
    LimitPromises,
    LifecyclePromises,
):
    """Every promise about one store; any store that passes works with `EventSourcing`.

    A subclass whose name begins with `Test` has a fixture `store`, an empty, open store. It needs pytest and
    pytest-asyncio, with `asyncio_mode = "auto"` or with the subclass marked `@pytest.mark.asyncio`:

        class TestMyStore(EventStoreSuite, SharedStoreSuite):
            @pytest.fixture
            def new_store(self, tmp_path: Path) -> Callable[[], EventStore]:
                return lambda: MyStore(tmp_path / "events")

            @pytest_asyncio.fixture
            async def store(self, new_store: Callable[[], EventStore]) -> AsyncIterator[EventStore]:
                async with new_store() as store:
                    yield store

    `SharedStoreSuite` and its `new_store` are for stores whose data outlives the object. A store keeps the promises
    about limits by deriving from `eventree.stores.CheckedStore`.
    """
