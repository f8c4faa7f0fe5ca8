"""More commands than can be executed: those taken up are answered in time, the others at once or not at all."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from eventree import ActorTimeout, Commit, DomainError, Err, EventreeError, EventSourcing, Ok
from eventree.stores.contract import AppendRequest, Outcome
from eventree.testing import FailingStore
from sourcing.ledger import Added, LedgerSystem, add, add_length, ledger

SECONDS_EACH = 0.001


class SlowStore(FailingStore):
    """A store that takes its time for each aggregate of an append."""

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        await asyncio.sleep(SECONDS_EACH * len(requests))
        return await super().append(requests)


def what_became(answer: Ok[Commit[Added]] | Err[DomainError[str] | EventreeError]) -> str:
    if isinstance(answer, Ok):
        return "ok"
    return str(answer.error.outcome) if isinstance(answer.error, ActorTimeout) else type(answer.error).__name__


async def learn(system: LedgerSystem) -> None:
    """Let the system see how long batches of different sizes take."""
    for size in (1, 20, 40) * 5:
        await asyncio.gather(*(system.execute(f"a{number}", add(1)) for number in range(size)))


async def test_a_burst_that_is_too_large_is_executed_as_far_as_there_is_time_and_the_rest_is_not_started() -> None:
    async with SlowStore() as store, EventSourcing(ledger, store, mailbox_size=3_000) as system:
        await learn(system)
        before = await store.head()
        calls = [system.execute(f"a{number}", add(1), timeout=1) for number in range(3_000)]
        outcomes = Counter(map(what_became, await asyncio.gather(*calls)))
        stored = await store.head() - before
    assert outcomes["ok"] > 100
    assert outcomes["ok"] + outcomes["not_started"] + outcomes["unknown"] == 3_000
    assert stored - outcomes["ok"] <= outcomes["unknown"] < outcomes["ok"]


async def test_who_waits_without_a_timeout_gets_a_turn_in_the_order_of_arrival() -> None:
    async with SlowStore() as store, EventSourcing(ledger, store) as system:
        await learn(system)
        gate = store.hold("append")
        system.execute_nowait("b", add(1))
        await gate.reached()
        hasty = [asyncio.ensure_future(system.execute(f"a{number}", add(1), timeout=0.2)) for number in range(1_000)]
        await asyncio.sleep(0)
        system.execute_nowait("patient", add_length)
        hasty += [asyncio.ensure_future(system.execute(f"a{number}", add(1), timeout=0.2)) for number in range(1_000)]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(*hasty)
        assert (await system.execute("patient", add_length)).unwrap().events == (Added(1),)


async def test_an_estimate_that_is_too_high_keeps_no_command_from_being_executed() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        for _ in range(10):
            system._tree.commands.mailbox.batch_times.observe(1, 60.0)  # type: ignore[union-attr]
        answers = await asyncio.gather(*(system.execute(f"a{number}", add(1), timeout=2) for number in range(100)))
        assert Counter(map(what_became, answers)) == {"ok": 100}
