"""A writer that fights for a few hot aggregates, also to be run as a process of its own beside others.

Arguments: the DSN, a number that makes its choices its own, how many seconds. Prints "ready", waits for a line, works,
and prints one JSON object per request that was kept.
"""

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import msgspec

from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, EventStore, NewCommand
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import TYPE, event

HOT = [f"hot {number}" for number in range(5)]
IDS = 400
"""Out of how many ids of commands all writers choose; many are chosen twice."""


@dataclass(frozen=True)
class Kept:
    """Tell where the last event of a kept request is, by its own word.

    Attributes:
        aggregate_id: The aggregate.
        sequence: Of the last event.
        position: Of the last event.
        commits: The commit id of each of its events, in order.
        command_id: The id recorded with it, empty if none was.
    """

    aggregate_id: str
    sequence: int
    position: int
    commits: list[UUID]
    command_id: str


async def rush(store: EventStore, number: int, seconds: float) -> tuple[list[Kept], Counter[str]]:
    """Append all the time; return what was kept, and how often each kind of outcome came."""
    chance = random.Random(number)  # noqa: S311
    known = dict.fromkeys(HOT, 0)
    kept: list[Kept] = []
    seen: Counter[str] = Counter()
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        requests = [_request(chance, id, known[id]) for id in chance.sample(HOT, chance.randint(1, 3))]
        for request, outcome in zip(requests, await store.append(requests), strict=True):
            seen[type(outcome).__name__] += 1
            match outcome:
                case Appended(sequence, position):
                    known[request.aggregate_id] = sequence
                    if request.events or request.commands:
                        commits = [event.commit_id for event in request.events]
                        ids = [command.command_id for command in request.commands]
                        kept.append(Kept(request.aggregate_id, sequence, position, commits, "".join(ids)))
                case Conflict(sequence):
                    assert sequence != request.expected_sequence
                    assert sequence >= known[request.aggregate_id] or request.expected_sequence > sequence
                    known[request.aggregate_id] = sequence
                case DuplicateCommand(ids):
                    assert ids == {command.command_id for command in request.commands}
    return kept, seen


def _request(chance: random.Random, id: str, known: int) -> AppendRequest:
    """Return a request as callers make them: with events, ids, both or nothing, now and then on an old sequence."""
    expected = max(0, known - chance.choice([0, 0, 0, 0, 1, 3]))
    events = [event(f'"{id}"') for _ in range(chance.choice([0, 1, 1, 2, 5]))]
    ids = [f"id {chance.randrange(IDS)}"] if chance.random() < 0.3 else []
    commands = [NewCommand(command_id, expected + 1, expected + len(events)) for command_id in ids]
    return AppendRequest(TYPE, id, expected, events, commands)


async def main(dsn: str, number: int, seconds: float) -> None:
    async with PostgresStore(dsn) as store:
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        for kept in (await rush(store, number, seconds))[0]:
            print(msgspec.json.encode(kept).decode())  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
