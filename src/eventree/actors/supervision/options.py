"""The options of a supervisor and its children: pure values, with the words and rules of OTP's `supervisor`."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import dropwhile

from eventree.actors.exits import ExitReason
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_count, check_positive


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after an abnormal end: a crash or a kill."""
    TEMPORARY = "temporary"
    """Never; its place in the tree is forgotten."""


class Strategy(Enum):
    """Which children are restarted when one of them ends."""

    ONE_FOR_ONE = "one_for_one"
    """Only that one."""
    ONE_FOR_ALL = "one_for_all"
    """All: the others are stopped in reverse order, then all are started in order."""
    REST_FOR_ONE = "rest_for_one"
    """That one and all that were started after it."""


class AutoShutdown(Enum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    """It goes on."""
    ANY_SIGNIFICANT = "any_significant"
    """It ends with the first of them."""
    ALL_SIGNIFICANT = "all_significant"
    """It ends with the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Say when a supervisor restarts which children, and when it ends itself (OTP's supervisor flags).

    Attributes:
        strategy: Which children are restarted when one ends.
        max_restarts: How many restarts are allowed within `max_seconds`.
        max_seconds: The length of that window, in seconds.
        auto_shutdown: Whether it ends with its significant children.
        max_children: How many there may be at a time; None for any number.
        max_concurrent_restarts: How many of them are restarted at the same time; None for any number.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    max_children: int | None = None
    max_concurrent_restarts: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        if not isinstance(self.strategy, Strategy):
            raise InvalidArgument("strategy", f"must be a Strategy, got {self.strategy!r}")
        if not isinstance(self.auto_shutdown, AutoShutdown):
            raise InvalidArgument("auto_shutdown", f"must be an AutoShutdown, got {self.auto_shutdown!r}")
        if not isinstance(self.max_restarts, int) or self.max_restarts < 0:
            raise InvalidArgument("max_restarts", f"must be 0 or more, got {self.max_restarts!r}")
        check_positive("max_seconds", self.max_seconds)
        for name in ("max_children", "max_concurrent_restarts"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))


def is_restarted(restart: Restart, reason: ExitReason) -> bool:
    """Return whether a child that ended for this reason is started again."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.abnormal)


def restart_group(strategy: Strategy, children: Iterable[Hashable], failed: Hashable) -> Sequence[Hashable]:
    """Return the ids of the children to restart, in start order.

    Args:
        strategy: The supervisor's.
        children: The ids of all children in start order.
        failed: The one that ended.
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [failed]
        case Strategy.ONE_FOR_ALL:
            return list(children)
        case Strategy.REST_FOR_ONE:
            return list(dropwhile(lambda child: child != failed, children))
