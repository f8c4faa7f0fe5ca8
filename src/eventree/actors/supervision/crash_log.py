"""What the log says of crashes: once each, never a message's content, and no storms."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from eventree.actors.actor.request import Request
from eventree.actors.exits import ExitReason

logger = logging.getLogger("eventree")

FULL_REPORTS = 10
"""After so many reports alike of a child, only those whose number is a power of two are written; after so many crashes
of any children at the same line of code, they are written without the traceback."""


class Reports:
    """Write the log of one supervisor."""

    def __init__(self, supervisor: str) -> None:
        """Begin without any repetition to remember."""
        self._supervisor = supervisor
        self._seen: dict[Hashable, Counter[str]] = {}
        self._tracebacks: Counter[tuple[str, str, int]] = Counter()

    def ended(
        self, child: Hashable, incarnation: int, reason: ExitReason, *, messages: tuple[str, ...], what_next: str
    ) -> None:
        """Report an abnormal end of a child.

        Args:
            child: Its id.
            incarnation: The number of the start that ended.
            reason: Why it ended.
            messages: The types of the messages it had in work.
            what_next: What becomes of it.
        """
        count = self._count(child, type(reason.error).__name__)
        if not count:
            return
        logger.error(
            "supervisor %s: child %r (incarnation %d) %s%s, %s%s",
            self._supervisor,
            child,
            incarnation,
            reason.kind.value,
            f" at work on {_listed(messages)}" if messages else "",
            what_next,
            "" if count == 1 else f" ({count} times so far)",
            exc_info=reason.error if self._is_news(reason.error) else None,
        )

    def dead_letters(self, actor: Hashable, letters: Iterable[Request[Any, Any]], why: Exception) -> None:
        """Report messages that are lost, one line for all of a kind."""
        for message_type, lost in Counter(type(letter.message).__name__ for letter in letters).items():
            if self._count(actor, message_type):
                logger.warning("%d waiting %s to actor %r lost: %s", lost, message_type, actor, why)

    def forget(self, child: Hashable) -> None:
        """Forget what was reported of a child that is no more."""
        self._seen.pop(child, None)

    def _is_news(self, error: BaseException | None) -> bool:
        """Return whether to write the traceback: not again and again where many children crash at the same place."""
        if error is None:
            return False
        place = _place_of(error)
        self._tracebacks[place] += 1
        return self._tracebacks[place] <= FULL_REPORTS

    def _count(self, child: Hashable, what: str) -> int:
        """Return how often this happened, 0 if it happens too often to be written again."""
        seen = self._seen.setdefault(child, Counter())
        seen[what] += 1
        count = seen[what]
        return count if count <= FULL_REPORTS or count & (count - 1) == 0 else 0


def _place_of(error: BaseException) -> tuple[str, str, int]:
    """Return what an error is and where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__, "", 0
    return type(error).__name__, traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


def _listed(messages: tuple[str, ...]) -> str:
    counts = Counter(messages)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())
