"""Tell the log what became of a failure: a traceback once, then a line for each attempt, and what to do next."""

import asyncio
import logging
from typing import Final

from eventree.errors import LogRolledBack, TooManyParked
from eventree.errors.showing import loggable
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit, reason_of
from eventree.sourcing.queries.options import FailurePolicy
from eventree.sourcing.queries.state import QueryState

logger = logging.getLogger("eventree")

LOG_EVERY: Final = 20
"""Every which failure of the store in a row is logged, from the first."""

_MAX_TYPES: Final = 3
"""How many event types of a commit are named."""


def log_change(before: QueryState, after: QueryState, error: BaseException) -> None:
    """Log the consequences of an error: a retry, a commit skipped or parked, or the end of the query."""
    name = after.options.name
    if isinstance(error, HandlingFailed) and after.store_failures == before.store_failures:
        _log_failure(before, after, error)
    elif after.stopped is not None and before.stopped is None:
        text = "query %s stopped after position %d: %s; fix the cause, then call resume()"
        logger.error(text, name, after.position, one_line(after.stopped), exc_info=loggable(after.stopped))
    elif isinstance(error, LogRolledBack) and after.stopped is None:
        logger.warning("query %s starts again from its stored checkpoint: %s", name, error)
    elif after.store_failures > before.store_failures and after.store_failures % LOG_EVERY == 1:
        raised = error.error if isinstance(error, HandlingFailed) else error
        logger.warning("query %s waits for its store: %s", name, raised)


def _log_failure(before: QueryState, after: QueryState, error: HandlingFailed) -> None:
    is_rejected = len(after.rejected) > len(before.rejected)
    if after.failure is before.failure and not is_rejected:
        return  # several commits failed together, and are delivered one by one next
    commit = error.commits[0] if error.commits else None
    attempts = before.attempts_at(commit) + 1
    is_final = is_rejected or after.stopped is not None
    logger.log(
        logging.ERROR if is_final else logging.WARNING,
        "query %s failed %s, attempt %d of %d: %s; %s",
        *(after.options.name, _place(commit), attempts, after.options.max_attempts, one_line(error.error)),
        _next_step(after, commit, error.error),
        exc_info=loggable(error.error) if attempts == 1 and not (after.failure and after.failure.is_outdated) else None,
    )


def _place(commit: StoredCommit | None) -> str:
    if commit is None:
        return "before the first event"
    types = list(dict.fromkeys(event.event_type for event in commit.events))
    more = [] if len(types) <= _MAX_TYPES else ["..."]
    return "at position {} ({} {!r}, {})".format(commit.position, *commit.key, ", ".join(types[:_MAX_TYPES] + more))


def _next_step(after: QueryState, commit: StoredCommit | None, error: BaseException) -> str:
    if commit is None:
        return "it stopped: fix the cause, then call resume()" if after.stopped is not None else _retry(after)
    if isinstance(error, TooManyParked):
        return "it stopped: call retry_parked() or drop_parked(), then resume()"
    if after.stopped is not None:
        return f"it stopped: fix the cause and call resume(), or leave the commit out with skip({commit.position})"
    if after.failure is not None and after.failure.is_outdated:
        return (
            "it waits for newer code, and lets go of its lease so that a process that has it takes over; where there "
            f"is none, deploy it, or leave the commit out with skip({commit.position})"
        )
    if after.failure is not None:
        return _retry(after)
    if after.options.on_failure is FailurePolicy.SKIP:
        return "it is left out for good"
    return (
        "it is parked, with all later commits of its aggregate: call retry_parked() once the cause is fixed, or "
        f"drop_parked({commit.position})"
    )


def _retry(after: QueryState) -> str:
    retry_at = after.failure.retry_at if after.failure is not None else 0.0
    return f"retries in {max(retry_at - asyncio.get_running_loop().time(), 0.0):.2f} s"


def one_line(error: BaseException) -> str:
    """Return the class and the text of an error on one line."""
    return " ".join(reason_of(error).split()).removesuffix(":")
