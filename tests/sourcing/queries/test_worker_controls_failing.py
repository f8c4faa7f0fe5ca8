"""What operators do while something fails: it is refused, and leaves the query as it was."""

from pathlib import Path

import pytest

from eventree import EventSourcing, EventStore, Projection, SQLiteStore
from eventree.errors import CheckpointFenced
from eventree.stores.contract import LeaseRequest
from eventree.testing import FailingStore
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import AT_ONCE, Seen, patient
from sourcing.totals import Connection, Events as Projected


async def test_a_worker_takes_over_when_the_lease_is_over_and_not_when_it_polls(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))
        query = patient(seen, lease=0.3, poll_interval=5.0)
        async with EventSourcing(ledger, store, queries=[query]) as other:
            await other.query("q").caught_up(timeout=2)


async def test_a_pause_that_fails_does_not_pause() -> None:
    seen = Seen()
    failing = FailingStore()
    async with failing, EventSourcing(ledger, failing, queries=[patient(seen)]) as system:
        handle = system.query("q")
        await system.execute("a", add(1))
        await seen.reaches(1)
        failing.fail("save_checkpoint", CheckpointFenced("q", 1))
        with pytest.raises(CheckpointFenced):
            await handle.pause()
        await system.execute("a", add(2))
        await handle.caught_up(timeout=1)


async def test_a_failing_claim_during_a_retry_does_not_crash_the_query(tmp_path: Path) -> None:
    async def always_fails(_: Connection, __: Projected) -> None:
        raise Boom

    failing = FailingStore(SQLiteStore(tmp_path / "events.db"))
    projection = Projection("q", always_fails, max_attempts=1, on_failure="park", backoff=AT_ONCE)
    async with failing, EventSourcing(ledger, failing, queries=[projection]) as system:
        handle = system.query("q")
        await system.execute("a", add(1))
        await handle.caught_up()

        async def do_nothing() -> None:
            """Let the first transaction begin, in which the projection fails."""

        failing.intercept("transaction", do_nothing)
        failing.fail("transaction", RuntimeError("of the store, while the checkpoint is claimed again"))
        with pytest.raises(RuntimeError):
            await handle.retry_parked()
        assert handle.incarnation == 1
