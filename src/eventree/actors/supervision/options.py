"""The options of a supervisor and its children: pure values, with the terms and rules of OTP's `supervisor`."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import dropwhile

from eventree.actors.exits import ExitReason
from eventree.errors import InvalidArgument
from eventree.errors.root import check_count, check_positive


class Restart(Enum):
    """Determine when a child that exited is restarted."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after an abnormal exit: a crash or a kill."""
    TEMPORARY = "temporary"
    """Never; the child is removed from its supervisor."""


class Strategy(Enum):
    """Determine which children are restarted when one of them exits."""

    ONE_FOR_ONE = "one_for_one"
    """Only that child."""
    ONE_FOR_ALL = "one_for_all"
    """All children: the others are stopped in reverse order, then all are started in order."""
    REST_FOR_ONE = "rest_for_one"
    """That child and every child started after it."""

    @property
    def restarts_siblings(self) -> bool:
        """Whether the restart of one child may stop and start others, so that all operations must take turns."""
        match self:
            case Strategy.ONE_FOR_ONE:
                return False
            case Strategy.ONE_FOR_ALL | Strategy.REST_FOR_ONE:
                return True


class AutoShutdown(Enum):
    """Determine whether a supervisor shuts down when its significant children have exited by themselves."""

    NEVER = "never"
    """It keeps running."""
    ANY_SIGNIFICANT = "any_significant"
    """It shuts down with the first of them."""
    ALL_SIGNIFICANT = "all_significant"
    """It shuts down with the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """Define which children a supervisor restarts, how often, and when it shuts down (OTP's supervisor flags).

    Attributes:
        strategy: Which children are restarted when one exits; default only that one.
        max_restarts: How many restarts are allowed within `max_seconds`; default 3.
        max_seconds: The length of that window, in seconds; default 5.
        auto_shutdown: Whether it shuts down with its significant children; default never.
        max_children: The maximum number of children; default None, no limit.
        max_concurrent_restarts: How many restarts may run at the same time; default None, no limit.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    max_children: int | None = None
    max_concurrent_restarts: int | None = None

    def __post_init__(self) -> None:
        """Validate the options."""
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
    """Return whether a child that exited for this reason is restarted."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.abnormal)


def restart_group(strategy: Strategy, children: Iterable[Hashable], failed: Hashable) -> Sequence[Hashable]:
    """Return the ids of the children to restart, in start order.

    Args:
        strategy: The supervisor's strategy.
        children: The ids of all children in start order.
        failed: The id of the child that exited.
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [failed]
        case Strategy.ONE_FOR_ALL:
            return list(children)
        case Strategy.REST_FOR_ONE:
            return list(dropwhile(lambda child: child != failed, children))
