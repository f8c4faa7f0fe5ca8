"""What an instrumentation is told: a record of each operation. It turns them into spans, metrics or log lines.

A record of an operation that takes time is given before it begins; its outcome is filled in before it ends.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from eventree.instrumentation.context import MessageContext

CommandOutcome: TypeAlias = Literal["committed", "refused", "failed"]
"""What became of a command: its events are stored, a business rule refused it, or anything else."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class CommandExecution:
    """A command, from the call until its answer.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        command_type: The name of the command's class.
        command_id: Makes the command idempotent; None if it is not.
        commit_id: The commit id of its events, if any are stored.
        metadata: To be filled by the instrumentation: what is to be stored with the events, such as a `traceparent`.
            What the caller gave takes precedence.
        context: What was carried inside of the instrumentation's context manager, for `Carried.of`.
        outcome: What became of it; None until it is answered. "committed" also stands for a command without events.
        error: Why it was refused or failed; None otherwise.
        sequence: The sequence of its aggregate after it; 0 until it is committed.
        position: The position of that event; 0 until it is committed.
        events: How many events it has; 0 until it is committed.
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
    """One transaction with all commands that were waiting.

    Attributes:
        aggregate_type: The name of the aggregates' type.
        commands: Its commands; those that were refused are checked too, to be sure that this was no stale state.
        attempt: From 1; one more after each conflict.
        requests: How many aggregates it concerns; each is kept or left out by itself.
        events: How many events were to be stored.
        kept: How many requests were kept; 0 until the store has answered.
        conflicts: How many met a conflict with another writer, and are decided again.
        duplicates: How many held a command that had been stored before.
        position: The newest position of what was stored; 0 if nothing was.
    """

    aggregate_type: str
    commands: Sequence[CommandExecution]
    attempt: int
    requests: int
    events: int
    kept: int = 0
    conflicts: int = 0
    duplicates: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class DeliveredCommit:
    """A commit that a query handles.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        commit_id: Shared by its events.
        first_position: The position of its first event.
        last_position: The position of its last event.
        metadata: What is stored with its events, that of the instrumentation included.
    """

    aggregate_type: str
    aggregate_id: str
    commit_id: UUID
    first_position: int
    last_position: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class QueryDelivery:
    """One call of a query's handler.

    Attributes:
        query: The name of the query.
        version: Its version.
        commits: What is handed over, in order: one commit for a `Query`, one or more for a `Projection`.
        attempt: How often these are being tried, from 1.
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
    """An actor exited, and its supervisor restarts it; or gives up, where that is one restart too many.

    Attributes:
        supervisor: The name of its supervisor.
        actor: Its id.
        incarnation: The number of the start that has ended.
        error: What it crashed with; None if it did not crash.
    """

    supervisor: str
    actor: Hashable
    incarnation: int
    error: BaseException | None


@runtime_checkable
class Instrumentation(Protocol):
    """Observe what a system does: derive from this class and override what you want to see.

    Each of the first three methods returns a context manager that is entered right before the operation and left right
    after it; what the operation raises passes through it, and cannot be held back. They run in the event loop and must
    not block. What they raise is logged once for each method, and changes nothing else.
    """

    def command(self, command: CommandExecution, /) -> AbstractContextManager[object]:
        """Observe a command at its caller, whichever way it is executed.

        It is entered and left in a copy of the caller's `contextvars`, so that commands in work at the same time do not
        become each other's parents. A call with arguments that are not acceptable is not told.
        """
        return nullcontext()

    def commit(self, batch: BatchCommit, /) -> AbstractContextManager[object]:
        """Observe the transaction of a batch of commands, in the actor that executes them."""
        return nullcontext()

    def delivery(self, delivery: QueryDelivery, /) -> AbstractContextManager[object]:
        """Observe a call of a query's handler; what is carried inside goes along with the commands it executes."""
        return nullcontext()

    def restart(self, restart: ActorRestart, /) -> None:
        """Observe the restart of an actor."""
        return  # without a statement, type checkers take it for abstract
