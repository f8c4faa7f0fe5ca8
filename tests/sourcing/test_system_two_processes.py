"""Several processes on one store: one writer wins, every answer is current, and an id is one command for all.

Two processes of tellers work beside this one on the same account. The log tells the balance at every position; every
answer is held against it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest

from bank import BankEvent, CustomerDepositedCash, CustomerWithdrewCash, OpenAccount, bank_account
from eventree import EventEnvelope, EventSourcing, EventStore
from servers.processes import Child, python
from sourcing import teller
from sourcing.teller import ACCOUNT, KINDS, Answer, Bank, open_store

OTHERS = 2


async def work(kind: str, place: str, store: EventStore, bank: Bank, count: int) -> list[list[Answer]]:
    """Let tellers in other processes and here work at once; return what each was answered."""
    (await bank.execute(ACCOUNT, OpenAccount(ACCOUNT))).unwrap()
    async with AsyncExitStack() as stack:
        start = [python(teller.__file__, kind, place, str(number), str(count)) for number in range(OTHERS)]
        others = [await stack.enter_async_context(each) for each in start]
        assert [await other.line() for other in others] == ["ready"] * OTHERS
        for other in others:
            other.say("go")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(each) for each in (KINDS[kind](store, bank, OTHERS, count), *map(answers, others))
            ]
        return [task.result() for task in tasks]


async def answers(other: Child) -> list[Answer]:
    return [msgspec.json.decode(line, type=Answer) for line in await other.lines()]


def changes(events: Sequence[EventEnvelope[BankEvent]]) -> list[int]:
    """Return by how much each event changed the balance, after checking what the event itself says."""
    balance, found = 0, list[int]()
    for event in events:
        match event.payload:
            case CustomerDepositedCash(amount, after):
                found.append(int(amount))
            case CustomerWithdrewCash(amount, after):
                found.append(-int(amount))
            case _:
                raise AssertionError(event)
        balance += found[-1]
        assert balance == after >= 0
    return found


@pytest.mark.slow
async def test_no_covered_withdrawal_is_refused_and_no_other_one_is_paid(place: str) -> None:
    async with open_store(place) as store, EventSourcing(bank_account, store) as bank:
        got = [answer for each in await work("serve", place, store, bank, 300) for answer in each]
        events = (await bank.load_events(ACCOUNT, start_from=2)).unwrap()
        assert await store.head() == len(events) + 1

    # What was stored is what was acknowledged, in an order that fits the clock on the wall.
    assert len(got) == 300 * (OTHERS + 1)
    changed = changes(events)
    stored = [answer for answer in got if answer.answer == "stored"]
    assert sorted((answer.position, answer.amount) for answer in stored) == list(enumerate(changed, 2))
    assert all(answer.sequence == answer.position for answer in stored)
    assert all(answer.before < answer.position <= answer.after for answer in stored)

    # Each refusal was right at one moment at least between the sending of the command and its answer.
    balances = [0, 0]  # at no event, and after the account was opened
    for change in changed:
        balances.append(balances[-1] + change)
    refused = [answer for answer in got if answer.answer == "refused"]
    assert all(answer.amount < 0 for answer in refused)
    wrong = [answer for answer in refused if min(balances[answer.before : answer.after + 1]) + answer.amount >= 0]
    assert wrong == []

    # All of that happened, and often.
    kinds = Counter(answer.answer for answer in got)
    assert kinds["stored"] > 300, kinds
    assert kinds["refused"] > 50, kinds


async def test_an_id_that_several_processes_send_at_once_is_stored_once_for_all(place: str) -> None:
    async with open_store(place) as store, EventSourcing(bank_account, store) as bank:
        got = await work("race", place, store, bank, 200)
        events = (await bank.load_events(ACCOUNT, start_from=2)).unwrap()
    mine, *others = [{answer.amount: (answer.sequence, answer.position) for answer in each} for each in got]
    assert sorted(changes(events)) == sorted(mine) == list(range(1, 201))
    assert mine == {
        change: (event.sequence, event.position) for change, event in zip(changes(events), events, strict=True)
    }
    assert others == [mine] * OTHERS
