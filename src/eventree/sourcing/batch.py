"""Decide a batch of commands, without any I/O: what to append, and whom to answer what once it is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Self, TypeAlias, TypeVar
from uuid import UUID

from eventree.actors import Request
from eventree.domain.aggregate import AggregateType
from eventree.domain.codec import Encoded
from eventree.domain.events import Commit
from eventree.errors import CodecError, ConcurrencyConflict, DomainError, EventreeError, HandlerCrashed
from eventree.result import Err, Ok, Result
from eventree.sourcing.loading import Live
from eventree.stores.contract import Appended, AppendRequest, NewCommand, NewEvent

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""How much JSON one transaction may hold, give or take one command."""


@dataclass(frozen=True, slots=True)
class Execute(Generic[CommandT]):
    """Carry a command to the actor that decides it.

    Attributes:
        aggregate_id: The aggregate.
        command: What is asked for.
        metadata: Stored with each of its events, as JSON text.
        command_id: Makes it idempotent, None if it is not.
        commit_id: Marks its events.
        expected_sequence: Where its sender saw the aggregate; None if that does not matter.
    """

    aggregate_id: str
    command: CommandT
    metadata: str
    command_id: str | None
    commit_id: UUID
    expected_sequence: int | None = None


Executed: TypeAlias = Result[Commit[EventT], DomainError[ErrorT] | EventreeError]
"""What a command is answered with."""

Work: TypeAlias = Request[Execute[CommandT], Executed[EventT, ErrorT]]


@dataclass(frozen=True, slots=True)
class Decided(Generic[CommandT, EventT, ErrorT]):
    """One command of a draft and what to answer it: events, or why it failed."""

    work: Work[CommandT, EventT, ErrorT]
    sequence: int
    events: tuple[EventT, ...]
    error: DomainError[ErrorT] | EventreeError | None = None

    @property
    def command_id(self) -> str | None:
        """The id its sender gave it."""
        return self.work.message.command_id

    @property
    def is_suspect(self) -> bool:
        """Whether it failed but may be the repetition of a command that succeeded."""
        return self.error is not None and self.command_id is not None

    def failed(self, error: EventreeError | None) -> Self:
        """Return it with why it was not stored; None if that is only a reason to decide it again."""
        return replace(self, error=error)


@dataclass(slots=True)
class Draft(Generic[StateT, CommandT, EventT, ErrorT]):
    """What the commands of one aggregate came to, to be appended as one request.

    Attributes:
        aggregate_id: The aggregate.
        base: Where it stood before; its state may have been changed in place by `apply`.
        state: Its state after the events.
        closed: Whether a function crashed, so that the state is not to be trusted any more.
    """

    aggregate_id: str
    base: Live[StateT]
    state: StateT
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    commands: list[NewCommand] = field(default_factory=list[NewCommand])
    decided: list[Decided[CommandT, EventT, ErrorT]] = field(default_factory=list[Decided[CommandT, EventT, ErrorT]])
    closed: bool = False

    @property
    def sequence(self) -> int:
        """The sequence of the last event so far."""
        return self.base.sequence + len(self.events)

    def request(self, aggregate_type: str) -> AppendRequest:
        """Return what to append; without events and commands it is a check that the state was current."""
        return AppendRequest(aggregate_type, self.aggregate_id, self.base.sequence, self.events, self.commands)

    def answer(self, decided: Decided[CommandT, EventT, ErrorT], outcome: Appended) -> Executed[EventT, ErrorT]:
        """Return the answer to one of its commands, now that the request was kept."""
        if decided.error is not None:
            return Err(decided.error)
        behind = outcome.sequence - decided.sequence
        position = outcome.position - behind if decided.sequence > self.base.sequence else self.base.position
        commit_id = decided.work.message.commit_id
        return Ok(Commit(self.aggregate_id, decided.sequence, position, decided.events, commit_id))


class Batch(Generic[StateT, CommandT, EventT, ErrorT]):
    """Decide commands in order; later commands of an aggregate see what earlier ones decided.

    Attributes:
        drafts: What to append, by aggregate.
        postponed: Commands for the next round: the batch is large enough, an earlier command of the aggregate
            crashed, or an earlier one of the batch has the same id.
    """

    def __init__(
        self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT], states: Mapping[str, Live[StateT]]
    ) -> None:
        """Begin with nothing decided.

        Args:
            aggregate_type: Decides.
            states: The current states of all aggregates that have commands.
        """
        self.drafts: dict[str, Draft[StateT, CommandT, EventT, ErrorT]] = {}
        self.postponed: list[Work[CommandT, EventT, ErrorT]] = []
        self._type = aggregate_type
        self._states = states
        self._ids: set[str] = set()
        self._behind: set[str] = set()
        self._bytes = 0

    def decide(self, work: Iterable[Work[CommandT, EventT, ErrorT]]) -> None:
        """Decide commands and put the results into drafts."""
        for request in work:
            message = request.message
            draft = self.drafts.get(message.aggregate_id)
            if self._is_put_off(message, draft):
                self.postponed.append(request)
                self._behind.add(message.aggregate_id)
                continue
            if draft is None:
                live = self._states[message.aggregate_id]
                draft = self.drafts[message.aggregate_id] = Draft(message.aggregate_id, live, live.state)
            if message.command_id is not None:
                self._ids.add(message.command_id)
            self._decide(draft, request)

    def _is_put_off(self, message: Execute[CommandT], draft: Draft[StateT, CommandT, EventT, ErrorT] | None) -> bool:
        """Tell whether a command must wait for the next round; all later ones of its aggregate wait behind it."""
        return (
            self._bytes >= MAX_BATCH_BYTES
            or message.command_id in self._ids
            or message.aggregate_id in self._behind
            or (draft is not None and draft.closed)
        )

    def _decide(self, draft: Draft[StateT, CommandT, EventT, ErrorT], work: Work[CommandT, EventT, ErrorT]) -> None:
        message = work.message
        expected = message.expected_sequence
        if expected is not None and expected != draft.sequence:
            conflict = ConcurrencyConflict(self._type.name, draft.aggregate_id, expected, draft.sequence)
            draft.decided.append(Decided(work, draft.sequence, (), conflict))
            return
        try:
            events = self._handle(draft.state, message.command)
        except Exception as error:  # noqa: BLE001 - a bug in `handle` is the answer to this command
            self._crashed(draft, work, "handle", error)
            return
        if isinstance(events, DomainError):
            draft.decided.append(Decided(work, draft.sequence, (), events))
            return
        try:
            encoded = [self._type.events.encode(event) for event in events]
            answered = self._type.events.read(encoded)  # not those that are applied: a state may hold and change them
        except CodecError as error:
            draft.decided.append(Decided(work, draft.sequence, (), error))
            return
        try:
            draft.state = self._type.replay(draft.state, [form.value for form in encoded])
        except Exception as error:  # noqa: BLE001 - a bug in `apply` is the answer to this command
            self._crashed(draft, work, "apply", error)
            return
        self._keep(draft, work, answered, encoded)

    def _handle(self, state: StateT, command: CommandT) -> tuple[EventT, ...] | DomainError[ErrorT]:
        match self._type.decide(state, command):
            case Ok(events):
                return events
            case Err(reason):
                return DomainError(reason)

    def _keep(
        self,
        draft: Draft[StateT, CommandT, EventT, ErrorT],
        work: Work[CommandT, EventT, ErrorT],
        events: tuple[EventT, ...],
        encoded: Sequence[Encoded[EventT]],
    ) -> None:
        message = work.message
        first = draft.sequence + 1
        for form in encoded:
            draft.events.append(NewEvent(form.type, form.version, form.payload, message.metadata, message.commit_id))
            self._bytes += len(form.payload) + len(message.metadata)
        if message.command_id is not None:
            draft.commands.append(NewCommand(message.command_id, first, draft.sequence))
        draft.decided.append(Decided(work, draft.sequence, events))

    def _crashed(
        self,
        draft: Draft[StateT, CommandT, EventT, ErrorT],
        work: Work[CommandT, EventT, ErrorT],
        function: str,
        error: Exception,
    ) -> None:
        """Answer this command with its crash and put the later ones off, to be decided on a state loaded anew."""
        crash = HandlerCrashed(function, self._type.name, draft.aggregate_id, error)
        draft.decided.append(Decided(work, draft.sequence, (), crash))
        draft.closed = True
