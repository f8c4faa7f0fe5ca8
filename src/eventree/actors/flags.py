"""The rules of one supervisor."""

from dataclasses import dataclass

from eventree.actors.policy import AutoShutdown, Strategy
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_count, check_positive


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
