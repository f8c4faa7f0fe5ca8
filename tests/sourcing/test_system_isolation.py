"""What a user's function sets in a context variable ends with its call; what was set before the system began stays."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from decimal import Context, Decimal, getcontext, setcontext
from typing import Any, TypeAlias

import pytest

from eventree import AggregateType, EventEnvelope, EventSourcing, EventStore, Ok, Projection, current_correlation
from sourcing.ledger import Added, LedgerSystem, add, ledger
from sourcing.observers import Recorder
from sourcing.reading import AT_ONCE, Events, patient
from sourcing.teller import open_store

TENANT: ContextVar[str] = ContextVar("TENANT", default="none")
Visitor: TypeAlias = Callable[[str, Events], Awaitable[None] | None]


class Visits:
    """Remember what each call found, and set something for those whose name begins with t."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def visit(self, name: str) -> None:
        self.found.append((name, TENANT.get()))
        if name.startswith("t"):
            TENANT.set(name)

    def plain(self, id: str, _: Events) -> None:
        self.visit(id)

    async def at_once(self, id: str, _: Events) -> None:
        self.visit(id)

    async def later(self, id: str, _: Events) -> None:
        await asyncio.sleep(0)
        self.visit(id)
        await asyncio.sleep(0)
        assert TENANT.get() == (id if id.startswith("t") else "before")

    async def failing(self, id: str, _: Events) -> None:
        self.visit(id)
        await asyncio.sleep(0)
        if id.startswith("t"):
            raise ZeroDivisionError


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """Set something before the system begins."""
    token = TENANT.set("before")
    yield
    TENANT.reset(token)


async def visit_all(system: LedgerSystem) -> None:
    for id in ("t1", "x", "t2", "y"):
        (await system.execute(id, add(1))).unwrap()
    await system.query("q").caught_up()


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("way", ["plain", "at_once", "later"])
async def test_what_a_handler_sets_is_not_seen_by_the_next_one(store: EventStore, way: str, *, observed: bool) -> None:
    visits = Visits()
    recorder = Recorder() if observed else None
    query = patient(getattr(visits, way))
    async with EventSourcing(ledger, store, queries=[query], instrumentation=recorder) as system:
        TENANT.set("after the system began")
        await visit_all(system)
    assert visits.found == [(id, "before") for id in ("t1", "x", "t2", "y")]


async def test_what_a_failing_handler_sets_is_not_seen_by_the_next_attempt_nor_when_it_is_retried(
    store: EventStore,
) -> None:
    visits = Visits()
    query = patient(visits.failing, on_failure="park", max_attempts=2)
    async with EventSourcing(ledger, store, queries=[query]) as system:
        await visit_all(system)
        assert await system.query("q").retry_parked() == 0
    assert visits.found == [(id, "before") for id in ("t1", "t1", "x", "t2", "t2", "y", "t1", "t2")]


async def test_a_handler_keeps_what_it_is_told_by_the_system_and_what_decimals_were_set_to(store: EventStore) -> None:
    seen: list[tuple[Decimal, bool]] = []

    async def divide(_: str, events: Sequence[EventEnvelope[Added]]) -> None:
        await asyncio.sleep(0)
        current = current_correlation()
        assert current is not None
        seen.append((Decimal(1) / Decimal(3), current.correlation_id == events[0].correlation_id))
        setcontext(Context(prec=20))

    previous = getcontext()
    setcontext(Context(prec=4))
    try:
        async with EventSourcing(ledger, store, queries=[patient(divide)]) as system:
            setcontext(previous)
            await visit_all(system)
    finally:
        setcontext(previous)
    assert seen == [(Decimal("0.3333"), True)] * 4


async def test_what_the_functions_of_a_projection_set_stays_in_each_call(place: str) -> None:
    visits = Visits()

    async def project(_: object, events: Sequence[EventEnvelope[Added]]) -> None:
        await asyncio.sleep(0)
        visits.visit(f"t {events[0].aggregate_id}")

    async def setup(_: object) -> None:
        visits.visit("t setup")

    async def clear(_: object) -> None:
        visits.visit("t clear")

    async def swap(_: object) -> None:
        visits.visit("t swap")

    def version(number: int) -> Projection[Added]:
        return Projection("q", project, setup=setup, clear=clear, swap=swap, version=number, backoff=AT_ONCE)

    async with open_store(place) as store, EventSourcing(ledger, store, queries=[version(1)]) as system:
        await visit_all(system)
        await system.query("q").reset()
        await system.query("q").caught_up()
        await system.register_queries([version(2)])
        async with asyncio.timeout(20):
            while not system.query("q", 2).is_live:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
    assert {name for name, _ in visits.found} >= {"t setup", "t clear", "t swap", "t t1", "t y"}
    assert {found for _, found in visits.found} == {"before"}


async def test_what_the_functions_of_an_aggregate_set_stays_in_each_call(store: EventStore) -> None:
    visits = Visits()

    def handle(_: tuple[int, ...], amounts: Sequence[int]) -> Any:
        def later() -> Iterator[Added]:
            visits.visit("t handled")
            yield from map(Added, amounts)

        visits.visit("t handle")
        return Ok(later())

    def apply(state: tuple[int, ...], event: Added) -> tuple[int, ...]:
        visits.visit("t apply")
        return (*state, event.amount)

    def empty() -> tuple[int, ...]:
        visits.visit("t empty")
        return ()

    kind: AggregateType[Any, Any, Any, Any] = AggregateType("visits", handle=handle, apply=apply, empty_state=empty)
    async with EventSourcing(kind, store, cache_size=1) as system:
        for id in "aabba":
            (await system.execute(id, [1, 2])).unwrap()
        (await system.load_aggregate("a")).unwrap()
    found = {name: [tenant for each, tenant in visits.found if each == name] for name, _ in visits.found}
    assert set(found) == {"t handle", "t handled", "t apply", "t empty"}
    assert set(found["t handle"] + found["t apply"] + found["t empty"]) == {"before"}
    assert set(found["t handled"]) == {"t handle"}  # it is still the same call
    assert TENANT.get() == "before"
