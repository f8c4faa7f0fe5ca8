"""How many events a projection gets at once, on real databases."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from eventree import EventEnvelope, EventSourcing, Projection
from sourcing.ledger import Added, add, ledger
from sourcing.teller import open_store

EVENTS = 600


@pytest.mark.parametrize("fixed", [0.06, 0.12])
async def test_a_fixed_cost_of_each_transaction_does_not_make_it_small(place: str, fixed: float) -> None:
    sizes: list[int] = []

    async def project(_: Any, events: Sequence[EventEnvelope[Added]]) -> None:
        await asyncio.sleep(fixed)
        sizes.append(len(events))

    projection: Projection[Added] = Projection("q", project, lease=30.0)
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(number)) for number in range(EVENTS)])
        await system.register_queries([projection])
        await system.query("q").caught_up(timeout=60)
    assert sum(sizes) == EVENTS
    assert len(sizes) <= EVENTS // 10
