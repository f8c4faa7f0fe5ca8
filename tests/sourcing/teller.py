"""A bank teller, to be run as a process of its own beside others: serves one account and prints what was answered.

Arguments: the kind of work, the store, a number that makes this teller's work its own, how many commands. Prints
"ready", waits for a line, works, and prints one JSON object per command.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from bank import BankAccount, BankCommand, BankError, BankEvent, Deposit, Withdraw, bank_account
from eventree import (
    Commit,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    Ok,
    SQLiteStore,
)

ACCOUNT = "account-1"
HANDS = 3
"""Commands that a teller has in work at once; few, so that often only refusals make a batch."""

TRIES = 50
"""How often a command with an id is sent again when others were always faster."""

Bank = EventSourcing[BankAccount, BankCommand, BankEvent, BankError]


@dataclass(frozen=True)
class Answer:
    """What one command was answered, and the part of the log that was written meanwhile.

    Attributes:
        amount: What it asked for; a withdrawal is negative.
        before: The newest position before it was sent.
        after: The newest position after it was answered.
        answer: "stored", "refused" or "conflict".
        sequence: The sequence of its event, if it was stored.
        position: The position of its event, if it was stored.
    """

    amount: int
    before: int
    after: int
    answer: str
    sequence: int = 0
    position: int = 0


def open_store(place: str) -> EventStore:
    """Return the store of a file or of a Postgres address."""
    if place.startswith("postgresql:"):
        from eventree.stores.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore(place)
    return SQLiteStore(place, busy_timeout=60)


async def serve(store: EventStore, bank: Bank, number: int, count: int) -> list[Answer]:
    """Pay in much but rarely, and ask for more than that in small amounts: a teller who goes by what he saw last at an
    empty account refuses again and again what others have paid in meanwhile.
    """
    chance = random.Random(number)  # noqa: S311
    amounts = [chance.randint(50, 100) if chance.random() < 0.1 else -chance.randint(1, 30) for _ in range(count)]
    answers: list[Answer] = []

    async def work(mine: list[int]) -> None:
        for amount in mine:
            command = Deposit(Decimal(amount)) if amount > 0 else Withdraw(Decimal(-amount))
            before = await store.head()
            answer = await bank.execute(ACCOUNT, command, timeout=60)
            after = await store.head()
            match answer:
                case Ok(Commit(sequence=sequence, position=position)):
                    answers.append(Answer(amount, before, after, "stored", sequence, position))
                case Err(DomainError(BankError.OVERDRAFT)):
                    answers.append(Answer(amount, before, after, "refused"))
                case Err(ConcurrencyConflict()):
                    answers.append(Answer(amount, before, after, "conflict"))
                case Err(error):
                    raise error

    await asyncio.gather(*(work(amounts[hand::HANDS]) for hand in range(HANDS)))
    return answers


async def race(store: EventStore, bank: Bank, number: int, count: int) -> list[Answer]:
    """Send the commands that every teller sends, with the same ids, in an order of one's own."""
    chance = random.Random(number)  # noqa: S311
    amounts = list(range(1, count + 1))
    for start in range(0, count, 10):  # all tellers are about at the same place
        part = amounts[start : start + 10]
        chance.shuffle(part)
        amounts[start : start + 10] = part

    async def send(amount: int) -> Answer:
        for _ in range(TRIES):
            answer = await bank.execute(ACCOUNT, Deposit(Decimal(amount)), command_id=f"c{amount}", timeout=60)
            if isinstance(answer, Ok):
                return Answer(amount, 0, await store.head(), "stored", answer.value.sequence, answer.value.position)
            if not isinstance(answer.error, ConcurrencyConflict):
                raise answer.error
        raise TimeoutError

    answers: list[Answer] = []
    for start in range(0, count, HANDS):
        answers += await asyncio.gather(*map(send, amounts[start : start + HANDS]))
    return answers


Work = Callable[[EventStore, Bank, int, int], Coroutine[None, None, list[Answer]]]
KINDS: dict[str, Work] = {"serve": serve, "race": race}


async def main(kind: str, place: str, number: int, count: int) -> None:
    async with open_store(place) as store, EventSourcing(bank_account, store) as bank:
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        for answer in await KINDS[kind](store, bank, number, count):
            print(msgspec.json.encode(answer).decode())  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
