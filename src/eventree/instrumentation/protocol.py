"""The instrumentation protocol: it gets a record of each operation, to turn into spans, metrics or log lines.

A record is passed in before its operation begins, and its outcome is filled in before the operation ends.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from eventree.instrumentation.context import MessageContext

CommandOutcome: TypeAlias = Literal["committed", "refused", "failed"]
"""The outcome of a command: its events are stored, a business rule refused it, or it failed for another reason."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class CommandExecution:
    """Record a command, from the call until its answer.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        command_type: The name of the command's class.
        command_id: Makes the command idempotent; None if it is not.
        commit_id: The commit id of its events, if any are stored.
        metadata: Entries to store with the events, such as a `traceparent`; filled in by the instrumentation. Entries
            of the caller take precedence.
        context: The message context inside the instrumentation's context manager, for `Carried.of`.
        outcome: Its outcome; None until it is answered. A command without events counts as "committed".
        error: Why it was refused or failed; None otherwise.
        sequence: The sequence of the aggregate's last event after it; 0 until it is committed.
        position: The position of that event; 0 until it is committed.
        events: The number of its events; 0 until it is committed.
    """

    aggregate_type: str
    aggregate_id: str
    command_type: str
    command_id: str | None
    commit_id: UUID
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    context: MessageContext | None = None
    outcome: CommandOutcome | None = None
    error: BaseException | None = None
    sequence: int = 0
    position: int = 0
    events: int = 0


@dataclass(slots=True, eq=False, weakref_slot=True)
class BatchCommit:
    """Record one transaction, with all commands that were waiting for it.

    Attributes:
        aggregate_type: The name of the aggregates' type.
        commands: Its commands. Refused ones are included, as the transaction also checks that their state was current.
            Empty at first for aggregates that several processes write to, whose commands are decided inside the
            transaction; the numbers of requests and events are then 0.
        attempt: From 1; one more after each conflict.
        requests: The number of append requests, one per aggregate; each is appended or rejected on its own.
        events: The number of events to append.
        appended: The number of requests appended; 0 until the store has answered.
        conflicts: The number of requests that conflicted with another writer; their commands are decided again.
        duplicates: The number of requests rejected because one of their commands was stored before.
        position: The position of the last event stored; 0 if none was.
    """

    aggregate_type: str
    commands: Sequence[CommandExecution]
    attempt: int
    requests: int
    events: int
    appended: int = 0
    conflicts: int = 0
    duplicates: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class DeliveredCommit:
    """Identify a commit that a query handles.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        commit_id: Shared by its events.
        first_position: The position of its first event.
        last_position: The position of its last event.
        metadata: The metadata of its events, including what an instrumentation added to it.
    """

    aggregate_type: str
    aggregate_id: str
    commit_id: UUID
    first_position: int
    last_position: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class QueryDelivery:
    """Record one call of a query's handler.

    Attributes:
        query: The name of the query.
        version: Its version.
        commits: The delivered commits, in order: one for a `Query`, one or more for a `Projection`.
        attempt: Which attempt at these commits this is, from 1.
        is_replay: Whether they were handled before; see `QueryContext`.
    """

    query: str
    version: int
    commits: Sequence[DeliveredCommit]
    attempt: int
    is_replay: bool

    @property
    def first_position(self) -> int:
        """The position of the first event."""
        return self.commits[0].first_position

    @property
    def last_position(self) -> int:
        """The position of the last event."""
        return self.commits[-1].last_position


@dataclass(frozen=True, slots=True)
class ActorRestart:
    """Record that an actor exited and its supervisor restarts it, or gives up after one restart too many.

    Attributes:
        supervisor: The name of its supervisor.
        actor: Its id.
        incarnation: The number of the incarnation that ended, from 1.
        error: The exception it crashed with; None if it did not crash.
    """

    supervisor: str
    actor: Hashable
    incarnation: int
    error: BaseException | None


@runtime_checkable
class Instrumentation(Protocol):
    """Observe a system: derive from this class and override the methods for the operations you want to see.

    Each of the first three methods returns a context manager that is entered right before the operation and left right
    after it; it sees the operation's exception, but cannot suppress it. All methods run in the event loop and must not
    block. The first exception of each method is logged; otherwise, exceptions are ignored.
    """

    def command(self, command: CommandExecution, /) -> AbstractContextManager[object]:
        """Observe a command at its caller, whether it is sent by `execute`, `execute_nowait` or `execute_many`.

        The context manager is entered and left in a copy of the caller's `contextvars`, so that concurrent commands do
        not become each other's parents. Calls with invalid arguments are not observed.
        """
        return nullcontext()

    def commit(self, batch: BatchCommit, /) -> AbstractContextManager[object]:
        """Observe the transaction of a batch of commands, in the actor that executes them."""
        return nullcontext()

    def delivery(self, delivery: QueryDelivery, /) -> AbstractContextManager[object]:
        """Observe a call of a query's handler; values carried inside travel with the commands it executes."""
        return nullcontext()

    def restart(self, restart: ActorRestart, /) -> None:
        """Observe the restart of an actor."""
        return  # type checkers take a method without a statement for abstract
