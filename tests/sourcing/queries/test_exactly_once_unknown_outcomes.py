"""A projection whose transaction was committed, but ended with an error, counts nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventree import EventSourcing, InvalidArgument, Projection, SQLiteStore
from sourcing.ledger import Added, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.totals import Connection, Events, clear, project, setup, totals


class Odd(SQLiteStore):
    """A store whose next transaction is committed and then fails with what nobody expects."""

    is_odd = False

    def transaction(self, lease: float = 5.0) -> Any:
        return self._transaction(lease)

    @asynccontextmanager
    async def _transaction(self, lease: float) -> AsyncIterator[Any]:
        async with super().transaction(lease) as transaction:
            yield transaction
        if self.is_odd:
            self.is_odd = False
            raise RuntimeError("bug")


async def test_what_was_read_is_not_counted_again_when_a_control_claims_the_checkpoint(tmp_path: Path) -> None:
    entered, free = asyncio.Event(), asyncio.Event()

    async def waits(connection: Connection, events: Events) -> None:
        await project(connection, events)
        entered.set()
        await free.wait()

    place = str(tmp_path / "events.db")
    counting: Projection[Added] = Projection("q", waits, setup=setup, backoff=AT_ONCE, poll_interval=0.01)
    async with Odd(place) as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([("a", add(1)), ("b", add(1)), ("c", add(1))])
        async with EventSourcing(ledger, store, queries=[counting]) as system:
            await entered.wait()
            store.is_odd = True
            refused = asyncio.ensure_future(system.query("q").skip(77))
            await asyncio.sleep(0)
            free.set()
            with pytest.raises(InvalidArgument):
                await refused
            await system.query("q").caught_up()
    assert await totals(place) == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


async def test_a_reset_that_took_place_but_ended_with_an_error_counts_everything_again(tmp_path: Path) -> None:
    place = str(tmp_path / "events.db")
    counting: Projection[Added] = Projection("q", project, setup=setup, clear=clear, poll_interval=0.01)
    async with Odd(place) as store, EventSourcing(ledger, store, queries=[counting]) as system:
        await system.execute_many([("a", add(1)), ("b", add(1))])
        await system.query("q").caught_up()
        store.is_odd = True
        with pytest.raises(RuntimeError):
            await system.query("q").reset()
        await system.execute("c", add(1))
        await system.query("q").caught_up()
    assert await totals(place) == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}
