"""Run as a process of its own, to be killed: callers on a store that other processes share.

Arguments: the path or DSN of the store, the journal, a name. What an earlier process of that name left open comes
first. Writes a byte to standard output when it begins and for each command that was acknowledged; ends by itself when
standard input does.
"""

import asyncio
import os
import sys
from pathlib import Path

from eventree import EventSourcing
from faults.caller import Caller, store_at
from faults.history import unresolved
from faults.journal import Journal
from sourcing.ledger import ledger_in_place

CALLERS = 6


def tell() -> None:
    os.write(sys.stdout.fileno(), b".")


async def call(caller: Caller, end: asyncio.Event) -> None:
    while not end.is_set():
        if await caller.send_another():
            tell()


async def main(address: str, journal_file: str, name: str) -> None:
    journal, end = Journal(Path(journal_file)), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, end.set)
    left_open = [invoked for invoked in unresolved(journal.read()) if invoked.command_id.startswith(f"{name}-")]
    tell()
    async with store_at(address) as store, EventSourcing(ledger_in_place, store) as system:
        caller = Caller(name, system, journal)
        for invoked in left_open:
            await caller.send(invoked)
        await asyncio.gather(*(call(caller, end) for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
