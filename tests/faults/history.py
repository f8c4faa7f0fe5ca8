"""A checker of histories: what callers were told, against what the log holds in the end.

It knows nothing of the library but the rows of the log. An event names its command in its metadata, `{"command": id}`,
so that a command stored twice is seen whatever ids the library gave to it.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from eventree.stores.contract import RecordedCommand, RecordedEvent


@dataclass(frozen=True, slots=True)
class Invoked:
    """A caller is about to send a command, for the first time or again."""

    command_id: str
    aggregate_id: str
    events: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The command was answered with its place: the sequence and the position of its last event."""

    command_id: str
    sequence: int
    position: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The command was answered with an error that says that nothing was stored."""

    command_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The command was answered with an error that leaves open whether it was stored."""

    command_id: str
    error: str


Step: TypeAlias = Invoked | Acknowledged | Refused | Unknown
"""Something that a caller wrote down, in the order in which all callers did."""


class Rule(StrEnum):
    """What must hold for every history."""

    POSITIONS = "positions go from 1 to the last without a hole"
    SEQUENCES = "sequences of an aggregate go from 1, in the order of positions"
    NOT_LOST = "an acknowledged command is in the log"
    STORED_ONCE = "a command is stored once"
    WHOLE = "a command is stored with all its events, next to each other, in one commit"
    IN_ITS_PLACE = "a command is where its caller was told"
    REFUSED = "a refused command left nothing behind"
    REAL_TIME = "a command that was sent after another was answered has a higher position"
    RECORDED = "an id is recorded exactly for the commands that are in the log, with their place"
    INVITED = "every event belongs to a command that somebody sent"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold, and where."""

    rule: Rule
    where: str

    def __str__(self) -> str:
        return f"{self.where}: not so that {self.rule}"


class _Story:
    """All that happened to one command."""

    def __init__(self, invoked: Invoked, floor: int) -> None:
        self.invoked = invoked
        self.floor = floor
        self.told: set[tuple[int, int]] = set()
        self.attempts = 0
        self.refusals = 0

    @property
    def is_refused(self) -> bool:
        return self.attempts == self.refusals


def violations(
    steps: Sequence[Step], log: Sequence[RecordedEvent], commands: Mapping[str, RecordedCommand]
) -> list[Violation]:
    """Check a history.

    Args:
        steps: What callers wrote down: before they sent a command, and after they had its answer.
        log: All events, in the order in which the store gives them.
        commands: What the store has recorded for the ids of all commands that were sent.

    Returns:
        Every rule that does not hold, with where; none if all is well.
    """
    stories = _stories(steps)
    stored: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in log:
        stored[_command_of(event)].append(event)
    found = [*_order_of(log)]
    found += [Violation(Rule.INVITED, repr(id)) for id in stored if id not in stories]
    for id, story in stories.items():
        found += [Violation(rule, repr(id)) for rule in _broken(story, stored.get(id, []), commands.get(id))]
    return found


def unresolved(steps: Sequence[Step]) -> list[Invoked]:
    """Return the commands with events of which nobody knows yet whether they were stored, each once, in order."""
    stories = _stories(steps).values()
    return [story.invoked for story in stories if story.invoked.events and not story.told and not story.is_refused]


def _stories(steps: Sequence[Step]) -> dict[str, _Story]:
    stories: dict[str, _Story] = {}
    newest = 0
    for step in steps:
        match step:
            case Invoked(id):
                stories.setdefault(id, _Story(step, newest)).attempts += 1
            case Acknowledged(id, sequence, position):
                stories[id].told.add((sequence, position))
                newest = max(newest, position)
            case Refused(id):
                stories[id].refusals += 1
            case Unknown():
                pass
    return stories


def _command_of(event: RecordedEvent) -> str:
    metadata: dict[str, str] = json.loads(event.metadata)
    return metadata.get("command", f"the unnamed one at {event.position}")


def _order_of(log: Sequence[RecordedEvent]) -> Iterator[Violation]:
    counts: Counter[tuple[str, str]] = Counter()
    for expected, event in enumerate(log, 1):
        key = (event.aggregate_type, event.aggregate_id)
        counts[key] += 1
        if event.position != expected:
            yield Violation(Rule.POSITIONS, f"position {event.position} as event number {expected}")
        if event.sequence != counts[key]:
            yield Violation(Rule.SEQUENCES, f"sequence {event.sequence} as event number {counts[key]} of {key[1]!r}")


def _broken(story: _Story, events: Sequence[RecordedEvent], command: RecordedCommand | None) -> Iterator[Rule]:
    """Yield the rules that one command breaks."""
    if not events:
        if story.told:
            yield Rule.NOT_LOST
        if command is not None:
            yield Rule.RECORDED
        return
    first, last = events[0], events[-1]
    if story.is_refused:
        yield Rule.REFUSED
    if len(events) > story.invoked.events:
        yield Rule.STORED_ONCE
    elif not _is_whole(story.invoked, events):
        yield Rule.WHOLE
    if any(place != (last.sequence, last.position) for place in story.told):
        yield Rule.IN_ITS_PLACE
    if first.position <= story.floor:
        yield Rule.REAL_TIME
    place = (last.aggregate_type, last.aggregate_id, first.sequence, last.sequence)
    if command is None or place != (
        command.aggregate_type,
        command.aggregate_id,
        command.first_sequence,
        command.last_sequence,
    ):
        yield Rule.RECORDED


def _is_whole(invoked: Invoked, events: Sequence[RecordedEvent]) -> bool:
    positions = [event.position for event in events]
    return (
        positions == list(range(positions[0], positions[0] + invoked.events))
        and {event.aggregate_id for event in events} == {invoked.aggregate_id}
        and len({event.commit_id for event in events}) == 1
    )
