"""What is refused inside of a projection's transaction, and allowed again after it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from eventree import Err, EventSourcing, Ok, Projection
from eventree.errors import WouldDeadlock
from eventree.stores.contract import TransactionalStore
from sourcing.ledger import Added, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, before, clear, setup, totals


def projection(project: Callable[[Connection, Events], Awaitable[None]]) -> Projection[Added]:
    return Projection("totals", project, setup=setup, clear=clear, backoff=AT_ONCE, poll_interval=0.01)


async def test_commands_from_inside_of_a_projection_are_refused_at_once(place: str) -> None:
    answers: list[object] = []
    system: LedgerSystem

    async def asks(_: Events) -> None:
        async with asyncio.timeout(4):
            answers.append(await system.execute("a", add(2)))
            answers.extend(await system.execute_many([("a", add(2))]))
            with pytest.raises(WouldDeadlock):
                await system.query("totals").caught_up()
            await asyncio.create_task(system.load_aggregate("a"))

    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection(before(asks))]) as system:
        await system.execute("a", add(1), wait_for=["totals"])
        assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [WouldDeadlock] * 2
        assert isinstance(await system.execute("a", add(3), wait_for=["totals"]), Ok)
        assert await totals(place) == {"a": (4, 2)}


async def test_a_task_that_a_projection_started_may_do_everything_when_the_transaction_is_over(place: str) -> None:
    system: LedgerSystem
    store: TransactionalStore[Connection]
    is_over = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await is_over.wait()
        assert isinstance(await system.execute("b", add(2)), Ok)
        await system.query("totals").caught_up()
        assert isinstance(await system.execute("b", add(3), wait_for=["totals"]), Ok)
        async with store.transaction() as transaction:
            await transaction.connection.execute("UPDATE totals SET amount = 10 * amount WHERE id = 'b'")

    async def starts(_: Events) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(later()))

    async with open_store(place) as opened:
        store = cast("TransactionalStore[Connection]", opened)
        async with EventSourcing(ledger, opened, queries=[projection(before(starts))]) as system:
            await system.execute("a", add(1), wait_for=["totals"])
            is_over.set()
            async with asyncio.timeout(20):
                await tasks[0]
            assert await totals(place) == {"a": (1, 1), "b": (50, 2)}


async def test_a_task_that_a_projection_started_is_refused_what_would_wait_for_the_transaction(place: str) -> None:
    system: LedgerSystem
    refused: list[object] = []

    async def asks() -> None:
        async with asyncio.timeout(4):
            refused.append((await system.execute("a", add(2))).error)  # type: ignore[union-attr]
            with pytest.raises(WouldDeadlock):
                await system.query("totals").caught_up()

    async def starts(_: Events) -> None:
        if not refused:
            await asyncio.create_task(asks())

    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection(before(starts))]) as system:
        await system.execute("a", add(1), wait_for=["totals"])
        assert [type(error) for error in refused] == [WouldDeadlock]
        assert await totals(place) == {"a": (1, 1)}
