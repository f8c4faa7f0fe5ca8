"""The log of crashes and lost messages: rate-limited, and never with the content of a message."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from eventree.actors.actor.request import Request
from eventree.actors.exits import ExitKind, ExitReason
from eventree.errors.showing import loggable

logger = logging.getLogger("eventree")

FULL_REPORTS = 10
"""After this many equal entries for one child, only those whose number is a power of two are written; after this many
crashes at the same line of code, of any children, entries are written without the traceback."""


class CrashLog:
    """Log the crashes and lost messages of one supervisor's children."""

    def __init__(self, supervisor: str) -> None:
        """Create a log with no entries counted.

        Args:
            supervisor: The supervisor's name.
        """
        self._supervisor = supervisor
        self._counts: dict[Hashable, Counter[str]] = {}
        self._tracebacks: Counter[tuple[str, str, int]] = Counter()

    def child_exited(
        self, child: Hashable, incarnation: int, reason: ExitReason, *, messages: tuple[str, ...], what_next: str
    ) -> None:
        """Log an abnormal exit.

        Args:
            child: The id of the child.
            incarnation: The incarnation that exited.
            reason: Why it exited.
            messages: The types of the messages it was handling.
            what_next: How the supervisor reacts.
        """
        count = self._count(child, type(reason.error).__name__)
        if not count:
            return
        logger.error(
            "supervisor %s: child %r (incarnation %d) %s%s; %s%s",
            self._supervisor,
            child,
            incarnation,
            "was killed" if reason.kind is ExitKind.KILLED else "crashed",
            f" while handling {_counted(messages)}" if messages else "",
            what_next,
            "" if count == 1 else f" ({count} times so far)",
            exc_info=loggable(reason.error) if self._needs_traceback(reason.error) else None,
        )

    def dead_letters(self, actor: Hashable, letters: Iterable[Request[Any, Any]], why: Exception) -> None:
        """Log messages that are lost, one line per message type."""
        for message_type, lost in Counter(type(letter.message).__name__ for letter in letters).items():
            if self._count(actor, message_type):
                logger.warning("lost %d %s queued for actor %r: %s", lost, message_type, actor, why)

    def forget(self, child: Hashable) -> None:
        """Drop the counts of a child that was removed."""
        self._counts.pop(child, None)

    def _needs_traceback(self, error: BaseException | None) -> bool:
        """Return whether to write the traceback; for many crashes at the same line, only the first ones have it."""
        if error is None:
            return False
        location = _location_of(error)
        self._tracebacks[location] += 1
        return self._tracebacks[location] <= FULL_REPORTS

    def _count(self, child: Hashable, what: str) -> int:
        """Count an entry and return the count; return 0 if the entry is to be suppressed."""
        counts = self._counts.setdefault(child, Counter())
        counts[what] += 1
        count = counts[what]
        return count if count <= FULL_REPORTS or count & (count - 1) == 0 else 0


def _location_of(error: BaseException) -> tuple[str, str, int]:
    """Return the type of an error, and the file and line where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__, "", 0
    return type(error).__name__, traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


def _counted(messages: tuple[str, ...]) -> str:
    counts = Counter(messages)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())
