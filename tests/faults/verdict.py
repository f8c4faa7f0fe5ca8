"""What became of a store that was tried hard: what is open is settled, then the history is checked."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventree import EventSourcing
from eventree.stores.contract import RecordedEvent
from faults.caller import Caller, store_at
from faults.history import Acknowledged, Invoked, Rule, Violation, unresolved, violations
from faults.journal import Journal
from sourcing.ledger import ledger_in_place
from stores.store_values import log


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen, and all that is wrong with it."""

    acknowledged: int
    resolved: int
    wrong: Sequence[Violation]
    stale: Sequence[str]

    def __str__(self) -> str:
        rules = [violation.rule for violation in self.wrong]
        lost, twice = rules.count(Rule.NOT_LOST), rules.count(Rule.STORED_ONCE)
        return (
            f"acknowledged {self.acknowledged}, lost {lost}, duplicated {twice}, unknown and resolved {self.resolved}"
        )


async def verdict(address: str, journal_file: Path) -> Verdict:
    """Send again whatever is open, then check everything."""
    journal = Journal(journal_file)
    try:
        async with store_at(address) as store:
            async with EventSourcing(ledger_in_place, store) as system:
                caller = Caller("verdict", system, journal)
                for invoked in unresolved(journal.read()):
                    assert await caller.send(invoked)
            steps, events = journal.read(), await log(store)
            commands = await store.find_commands({step.command_id for step in steps})
    finally:
        journal.close()
    acknowledged = {step.command_id for step in steps if isinstance(step, Acknowledged)}
    attempts = Counter(step.command_id for step in steps if isinstance(step, Invoked))
    resolved = [id for id in acknowledged if attempts[id] > 1]
    return Verdict(len(acknowledged), len(resolved), violations(steps, events, commands), [*_stale(events)])


def _stale(events: Sequence[RecordedEvent]) -> Iterator[str]:
    """Yield the events that were decided on another state than the one they followed."""
    begun: dict[object, int] = {}
    for event in events:
        first = begun.setdefault(event.commit_id, event.sequence)
        if json.loads(event.payload)["amount"] != first - 1:
            yield f"{event.aggregate_id} {event.sequence}: {event.payload}"
