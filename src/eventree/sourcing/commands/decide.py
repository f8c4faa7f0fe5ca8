"""Decide commands before an append, and settle them after it: pure functions over values, without I/O.

`decide` runs a round of commands against the loaded aggregates and returns what to append. Once the store has answered,
`settle` returns the next step for each command. A command that may have been stored before is looked up by its id
first; `resolve` then returns its next step.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct, field

from eventree.actors import Request
from eventree.commit import Commit
from eventree.domain.aggregate import AggregateType
from eventree.domain.codec import Encoded
from eventree.domain.immutability import cannot_change
from eventree.errors import (
    CodecError,
    CommandIdReused,
    ConcurrencyConflict,
    DomainError,
    EventreeError,
    HandlerCrashed,
    LogRolledBack,
)
from eventree.errors.failures import is_failure
from eventree.result import Err, Ok
from eventree.sourcing.commands.load import CachedAggregate
from eventree.sourcing.commands.requests import CommandEnvelope, CommandResult
from eventree.stores.contract import (
    Appended,
    AppendRequest,
    Conflict,
    DuplicateCommand,
    NewCommand,
    NewEvent,
    Outcome,
    RecordedCommand,
)

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

MAX_BATCH_CHARACTERS = 8 * 1024 * 1024
"""Characters of JSON after which no more commands join a transaction."""

PendingCommand: TypeAlias = Request[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]]
"""A command that waits for its answer."""


# --- values: Structs, which are the fastest to create, as each command needs several


class Decision(Struct, Generic[CommandT, EventT, ErrorT], frozen=True):
    """Hold the decision on one command: its events, or why it failed.

    Attributes:
        request: The command.
        sequence: The sequence of the aggregate after it.
        events: Its events, to be returned to its caller; default none.
        error: Why it failed; None if it did not.
    """

    request: PendingCommand[CommandT, EventT, ErrorT]
    sequence: int
    events: tuple[EventT, ...] = ()
    error: DomainError[ErrorT] | EventreeError | None = None


class AggregateBatch(Struct, Generic[StateT, CommandT, EventT, ErrorT], eq=False):
    """Collect the decisions for one aggregate, to be appended as one request.

    Attributes:
        aggregate_type: The name of its type.
        aggregate_id: The aggregate.
        base: The aggregate as loaded; `apply` may have changed its state in place since.
        state: The state after all decisions.
        sequence: The sequence after all decisions.
        events: The events to append.
        commands: The command ids to record.
        decisions: One per command, in order.
        is_closed: Whether `handle` or `apply` crashed and may have changed the state, which must not be used again.
    """

    aggregate_type: str
    aggregate_id: str
    base: CachedAggregate[StateT]
    state: StateT
    sequence: int
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    commands: list[NewCommand] = field(default_factory=list[NewCommand])
    decisions: list[Decision[CommandT, EventT, ErrorT]] = field(
        default_factory=list[Decision[CommandT, EventT, ErrorT]]
    )
    is_closed: bool = False

    def to_append(self) -> AppendRequest:
        """Return the append request; one without events and commands only checks that the state was current."""
        base = self.base
        confirms = not self.events and any(decision.error is None for decision in self.decisions)
        return AppendRequest(
            self.aggregate_type, self.aggregate_id, base.sequence, self.events, self.commands, base.stamp, confirms
        )

    def accept(
        self,
        request: PendingCommand[CommandT, EventT, ErrorT],
        encoded: Sequence[Encoded[EventT]],
        events: tuple[EventT, ...],
        state: StateT,
    ) -> None:
        """Add the events of a command and advance to the state after them."""
        message = request.message
        for form in encoded:
            event = NewEvent(form.type, form.version, form.payload, message.metadata, message.commit_id)
            self.events.append(event)
        first = self.sequence + 1
        self.sequence += len(encoded)
        if message.command_id is not None:
            self.commands.append(NewCommand(message.command_id, first, self.sequence, message.fingerprint))
        self.state = state
        self.decisions.append(Decision(request, self.sequence, events))

    def reject(
        self, request: PendingCommand[CommandT, EventT, ErrorT], error: DomainError[ErrorT] | EventreeError
    ) -> None:
        """Add a command that failed and changed nothing."""
        self.decisions.append(Decision(request, self.sequence, error=error))

    def crash(self, request: PendingCommand[CommandT, EventT, ErrorT], function: str, error: BaseException) -> None:
        """Add a command that crashed, and close the batch if the function may have changed the state before."""
        self.reject(request, HandlerCrashed(function, self.aggregate_type, self.aggregate_id, error))
        self.is_closed = not cannot_change(self.state)


class Keep(Struct, Generic[StateT], frozen=True):
    """Keep an aggregate in the cache: all its events are stored."""

    aggregate_id: str
    aggregate: CachedAggregate[StateT]


class CatchUp(Struct, Generic[StateT], frozen=True):
    """Keep an aggregate as it was before events of other writers, to load only those."""

    aggregate_id: str
    aggregate: CachedAggregate[StateT]


class Answer(Struct, Generic[CommandT, EventT, ErrorT], frozen=True):
    """Answer a command."""

    request: PendingCommand[CommandT, EventT, ErrorT]
    result: CommandResult[EventT, ErrorT]


class DecideAgain(Struct, Generic[CommandT, EventT, ErrorT], frozen=True):
    """Decide a command again, after reloading its aggregate."""

    request: PendingCommand[CommandT, EventT, ErrorT]


class LookUp(Struct, Generic[CommandT, EventT, ErrorT], frozen=True):
    """Look up whether a command was stored before; if not, continue with `otherwise`."""

    command_id: str
    otherwise: Answer[CommandT, EventT, ErrorT] | DecideAgain[CommandT, EventT, ErrorT]


class ReadCommit(Struct, Generic[CommandT, EventT, ErrorT], frozen=True):
    """Answer a repeated command with its first commit, read from the store."""

    request: PendingCommand[CommandT, EventT, ErrorT]
    recorded: RecordedCommand


Unsettled: TypeAlias = DecideAgain[CommandT, EventT, ErrorT] | LookUp[CommandT, EventT, ErrorT]
"""A step for a command that stays without an answer for now."""

Step: TypeAlias = (
    Keep[StateT] | CatchUp[StateT] | Answer[CommandT, EventT, ErrorT] | Unsettled[CommandT, EventT, ErrorT]
)
"""A step that follows an append."""


# --- deciding


class CommandBatch(Generic[StateT, CommandT, EventT, ErrorT]):
    """Decide commands in order; later commands of an aggregate see the events of earlier ones.

    Attributes:
        aggregates: The decisions to append, by aggregate id.
        deferred: Commands for the next round, because the batch is large enough, an earlier command of the same
            aggregate crashed or was deferred, or an earlier command of the batch has the same command id.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        loaded: Mapping[str, CachedAggregate[StateT]],
    ) -> None:
        """Start an empty batch.

        Args:
            aggregate_type: Decides commands and applies events.
            loaded: The aggregates of all commands to be added.
        """
        self.aggregates: dict[str, AggregateBatch[StateT, CommandT, EventT, ErrorT]] = {}
        self.deferred: list[PendingCommand[CommandT, EventT, ErrorT]] = []
        self._type = aggregate_type
        self._loaded = loaded
        self._command_ids: set[str] = set()
        self._deferred_ids: set[str] = set()
        self._characters = 0

    def add(self, request: PendingCommand[CommandT, EventT, ErrorT]) -> None:
        """Decide a command, or defer it."""
        message = request.message
        id, command_id = message.aggregate_id, message.command_id
        batch = self.aggregates.get(id)
        if (
            self._characters >= MAX_BATCH_CHARACTERS
            or command_id in self._command_ids
            or id in self._deferred_ids
            or (batch is not None and batch.is_closed)
        ):
            self.deferred.append(request)
            self._deferred_ids.add(id)
            return
        if batch is None:
            base = self._loaded[id]
            batch = self.aggregates[id] = AggregateBatch(self._type.name, id, base, base.state, base.sequence)
        if command_id is not None:
            self._command_ids.add(command_id)
        self._decide(batch, request)

    def _decide(
        self,
        batch: AggregateBatch[StateT, CommandT, EventT, ErrorT],
        request: PendingCommand[CommandT, EventT, ErrorT],
    ) -> None:
        expected = request.message.expected_sequence
        if expected is not None and expected != batch.sequence:
            conflict = ConcurrencyConflict(self._type.name, batch.aggregate_id, expected, batch.sequence)
            batch.reject(request, conflict)
            return
        try:
            decided = self._type.decide(batch.state, request.message.command)
        except BaseException as error:  # a bug in `handle` is the answer to this command
            if not is_failure(error):
                raise
            batch.crash(request, "handle", error)
            return
        if isinstance(decided, Err):
            batch.reject(request, DomainError(decided.error))
        else:
            self._apply(batch, request, decided.value)

    def _apply(
        self,
        batch: AggregateBatch[StateT, CommandT, EventT, ErrorT],
        request: PendingCommand[CommandT, EventT, ErrorT],
        decided: Iterable[EventT],
    ) -> None:
        """Apply the events in the form that the store will return, not the objects that the caller gets."""
        codec = self._type.events
        try:
            encoded = [codec.encode(event) for event in decided]
            events = codec.copies(encoded)
        except CodecError as error:
            batch.reject(request, error)
            return
        try:
            state = self._type.replay(batch.state, [form.value for form in encoded])
        except BaseException as error:  # a bug in `apply` is the answer to this command
            if not is_failure(error):
                raise
            batch.crash(request, "apply", error)
            return
        for form in encoded:
            self._characters += len(form.payload) + len(request.message.metadata)
        batch.accept(request, encoded, events, state)


def decide(
    aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
    loaded: Mapping[str, CachedAggregate[StateT]],
    requests: Iterable[PendingCommand[CommandT, EventT, ErrorT]],
) -> CommandBatch[StateT, CommandT, EventT, ErrorT]:
    """Decide a round of commands.

    Args:
        aggregate_type: Decides commands and applies events.
        loaded: The aggregates of all commands.
        requests: The commands, in order.

    Returns:
        The decisions to append for each aggregate, and the commands deferred to the next round.
    """
    batch = CommandBatch(aggregate_type, loaded)
    for request in requests:
        batch.add(request)
    return batch


# --- settling


def settle(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT], outcome: Outcome, *, is_last_round: bool
) -> Sequence[Step[StateT, CommandT, EventT, ErrorT]]:
    """Return the steps that follow the append of an aggregate, in order.

    Args:
        batch: The decisions that were appended.
        outcome: The store's answer.
        is_last_round: Whether commands fail after a conflict instead of being decided again.
    """
    match outcome:
        case Appended():
            return _settle_appended(batch, outcome)
        case Conflict(sequence):
            again = [
                _unless_recorded(_after_conflict(batch, decision.request, sequence, is_last_round=is_last_round))
                for decision in batch.decisions
            ]
            return [*_catch_up(batch, sequence), *again]
        case DuplicateCommand():
            again = [_unless_recorded(DecideAgain(decision.request)) for decision in batch.decisions]
            return [*_keep_base(batch), *again]


def resolve(
    step: Unsettled[CommandT, EventT, ErrorT],
    aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
    found: Mapping[str, RecordedCommand],
) -> Answer[CommandT, EventT, ErrorT] | DecideAgain[CommandT, EventT, ErrorT] | ReadCommit[CommandT, EventT, ErrorT]:
    """Return the next step for a command, once the command ids have been looked up.

    Args:
        step: Its step so far.
        aggregate_type: The aggregate's type.
        found: The records of the commands that were stored before, by command id.
    """
    if isinstance(step, DecideAgain):
        return step
    recorded = found.get(step.command_id)
    if recorded is None:
        return step.otherwise
    request = step.otherwise.request
    aggregate_id = request.message.aggregate_id
    if (recorded.aggregate_type, recorded.aggregate_id) != (aggregate_type.name, aggregate_id):
        return Answer(request, Err(CommandIdReused(recorded.command_id, aggregate_id)))
    if aggregate_type.fingerprints.is_other_command(recorded.fingerprint, request.message.fingerprint):
        return Answer(request, Err(CommandIdReused(recorded.command_id, aggregate_id, is_same_aggregate=True)))
    return ReadCommit(request, recorded)


def _settle_appended(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT], appended: Appended
) -> list[Step[StateT, CommandT, EventT, ErrorT]]:
    steps: list[Step[StateT, CommandT, EventT, ErrorT]] = []
    if not batch.is_closed:
        snapshot = batch.base.snapshot
        kept = CachedAggregate(batch.state, appended.sequence, appended.position, snapshot, appended.stamp)
        steps.append(Keep(batch.aggregate_id, kept))
    for decision in batch.decisions:
        request = decision.request
        if decision.error is None:
            steps.append(Answer(request, Ok(_commit(batch, decision, appended))))
        else:  # a repeated command often fails on the state that it led to; it must get its first answer instead
            steps.append(_unless_recorded(Answer(request, Err(decision.error))))
    return steps


def _keep_base(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT],
) -> list[Step[StateT, CommandT, EventT, ErrorT]]:
    """Keep the aggregate as it was loaded, as its sequence was right, unless `apply` may have changed its state."""
    return [Keep(batch.aggregate_id, batch.base)] if cannot_change(batch.base.state) else []


def _catch_up(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT], sequence: int
) -> list[Step[StateT, CommandT, EventT, ErrorT]]:
    """Keep the aggregate as it was loaded, unless `apply` may have changed its state, or its last event is unknown.

    The stamp of that event shows, when the later ones are read, whether it is still in the log.
    """
    base = batch.base
    is_useful = base.stamp is not None and base.sequence <= sequence
    return [CatchUp(batch.aggregate_id, base)] if is_useful and cannot_change(base.state) else []


def _commit(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT],
    decision: Decision[CommandT, EventT, ErrorT],
    appended: Appended,
) -> Commit[EventT]:
    sequence = decision.sequence
    position = batch.base.position
    if sequence > batch.base.sequence:  # the positions of one request are consecutive
        position = appended.position - (appended.sequence - sequence)
    return Commit(batch.aggregate_id, sequence, position, decision.events, decision.request.message.commit_id)


def _after_conflict(
    batch: AggregateBatch[StateT, CommandT, EventT, ErrorT],
    request: PendingCommand[CommandT, EventT, ErrorT],
    sequence: int,
    *,
    is_last_round: bool,
) -> Answer[CommandT, EventT, ErrorT] | DecideAgain[CommandT, EventT, ErrorT]:
    """Return the next step for a command whose aggregate turned out to be at another sequence."""
    name, id, base = batch.aggregate_type, batch.aggregate_id, batch.base.sequence
    expected = request.message.expected_sequence
    if sequence < base:
        return Answer(request, Err(LogRolledBack(f"{name} {id!r}", base, sequence)))
    if expected is not None and expected < sequence:
        return Answer(request, Err(ConcurrencyConflict(name, id, expected, sequence)))
    if is_last_round:
        return Answer(request, Err(ConcurrencyConflict(name, id, base, sequence)))
    return DecideAgain(request)


def _unless_recorded(
    step: Answer[CommandT, EventT, ErrorT] | DecideAgain[CommandT, EventT, ErrorT],
) -> Answer[CommandT, EventT, ErrorT] | Unsettled[CommandT, EventT, ErrorT]:
    """Make a step depend on a look-up of its command, unless the command has no id to look up."""
    command_id = step.request.message.command_id
    return step if command_id is None else LookUp(command_id, step)
