"""The commit of a command: what `execute` returns, and what an error may carry."""

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from uuid import UUID

from eventree.values import subscriptable

EventT_co = TypeVar("EventT_co", covariant=True)

_NIL: Final = UUID(int=0)


@subscriptable
@dataclass(frozen=True, slots=True)
class Commit(Generic[EventT_co]):
    """The result of a command: the events it stored, and their place in the log.

    Attributes:
        aggregate_id: The aggregate.
        sequence: The sequence of the aggregate's last event after this command; 0 if it has none.
        position: The position of that event in the store; 0 if there is none.
        events: The events of this command, in order; empty if there are none.
        commit_id: Shared by all its events. It is random for a command without a `command_id`, so commits are compared
            without it.
        repeated: Whether the command was stored before, and this is its first commit; commits are compared without it.
    """

    aggregate_id: str
    sequence: int
    position: int
    events: tuple[EventT_co, ...]
    commit_id: UUID = field(default=_NIL, compare=False)
    repeated: bool = field(default=False, compare=False)
