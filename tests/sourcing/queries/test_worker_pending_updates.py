"""What waits to be parked or counted as skipped survives whatever else is stored of the query."""

import pytest

from eventree import EventSourcing, EventStore
from eventree.errors import StoreUnavailable
from eventree.testing import FailingStore
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import Events, patient
from sourcing.waiting import until


@pytest.mark.parametrize("steer", ["drop_parked", "retry_parked"])
async def test_what_waits_to_be_parked_is_not_lost_when_parked_commits_are_dropped_or_retried(
    store: EventStore, steer: str
) -> None:
    failing_ids = {"first", "second"}

    def handler(id: str, _: Events) -> None:
        if id in failing_ids:
            raise Boom

    query = patient(handler, on_failure="park", max_attempts=1)
    failing = FailingStore(store)
    async with EventSourcing(ledger, failing, queries=[query]) as system:
        handle = system.query("q")
        await system.execute("first", add(1))
        await handle.caught_up()
        failing.fail("save_checkpoint", StoreUnavailable("away once"))
        await system.execute("second", add(2))
        await until(lambda: handle.last_error is not None)
        failing_ids.discard("first")
        await (handle.drop_parked(1) if steer == "drop_parked" else handle.retry_parked("first"))
        await handle.caught_up()
        assert [parked.position for parked in await handle.parked()] == [2]


async def test_what_waits_to_be_counted_as_skipped_is_counted_when_a_parked_commit_is_dropped(
    store: EventStore,
) -> None:
    failing_ids = {"first", "second"}

    def handler(id: str, _: Events) -> None:
        if id in failing_ids:
            raise Boom

    async with EventSourcing(ledger, store, queries=[patient(handler, on_failure="park", max_attempts=1)]) as system:
        await system.execute("first", add(1))
        await system.query("q").caught_up()
    failing = FailingStore(store)
    query = patient(handler, on_failure="skip", max_attempts=1)
    async with EventSourcing(ledger, failing, queries=[query]) as system:
        handle = system.query("q")
        await handle.caught_up()
        failing.fail("save_checkpoint", StoreUnavailable("away once"))
        await system.execute("second", add(2))
        await until(lambda: handle.last_error is not None)
        await handle.drop_parked(1)
        await handle.caught_up()
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert stored.skipped == 1
