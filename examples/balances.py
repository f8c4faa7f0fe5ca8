"""The read model of the example: a table of balances, kept up to date by a query."""

import asyncio
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from bank import AccountOpened, BankEvent
from eventree import EventEnvelope


class Balances:
    """Keep the balance of every account in a SQLite file of its own.

    Setting a balance twice changes nothing, so it does not matter that a query may be handed a commit again after a
    crash. Each call commits, since the query's checkpoint moves on once it has returned.
    """

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS balances (account_id TEXT PRIMARY KEY, balance TEXT NOT NULL)")
        self._calls = 0
        self._crash_at = 0
        self._crashed = False

    def __enter__(self) -> Self:
        """Return the read model."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._db.close()

    def crash_once_at(self, call: int) -> None:
        """Let the query actor die once, at this call from now."""
        self._crash_at = self._calls + call

    def __call__(self, account_id: str, events: Sequence[EventEnvelope[BankEvent]]) -> None:
        """Take the events of one commit in: this is the query's handler."""
        self._calls += 1
        if self._crashed:
            self._crashed = False
            print(f"  its supervisor restarted it: it goes on from its checkpoint, at position {events[0].position}")
        for event in events:
            balance = Decimal(0) if isinstance(event.payload, AccountOpened) else event.payload.balance
            self._db.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (account_id, str(balance)))
        if self._calls == self._crash_at:
            self._crash(events[-1].position)

    def all(self) -> dict[str, Decimal]:
        """Return every balance by account."""
        return {id: Decimal(balance) for id, balance in self._db.execute("SELECT * FROM balances ORDER BY account_id")}

    def _crash(self, position: int) -> None:
        """Kill the task that runs the query actor: to its supervisor, that is a crash."""
        print(f"! the query actor 'balances' crashes at position {position} (on purpose)")
        self._crashed = True
        task = asyncio.current_task()
        if task is not None:
            task.cancel()
