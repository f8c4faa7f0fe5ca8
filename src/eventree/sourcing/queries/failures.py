"""What a query does about failures: find the commit that is to blame, try again, then stop, skip or park."""

import logging

from eventree.errors import LogRolledBack, TooManyParked, TransactionEnded
from eventree.sourcing.queries.commits import GivenUp, HandlingFailed, StoredCommit, reason_of
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.progress import Progress, QueryStatus
from eventree.sourcing.queries.tasks import now

logger = logging.getLogger("eventree")

_HOPELESS = (TransactionEnded, TooManyParked)
"""What another attempt would not change, nor leaving the commit out."""


class Failures:
    """Remember what fails, and decide what to do about it.

    Attributes:
        retry_at: When to try again, on the loop's clock.
        commit: The commit that fails; None if there is none, or the failure was before the first event.
        is_over: Whether the query gave up.
    """

    def __init__(self, options: Options, hold: Hold, progress: Progress) -> None:
        """Begin without any."""
        self.retry_at = 0.0
        self.commit: StoredCommit | None = None
        self.is_over = False
        self._options = options
        self._hold = hold
        self._progress = progress

    def forget(self) -> None:
        """Begin anew: it works, or somebody wants it to be tried."""
        self.retry_at = 0.0
        self.commit = None
        self.is_over = False
        self._progress.failures = self._progress.failing_at = 0
        self._progress.last_error = None

    def worked(self) -> None:
        """Note that something was handled, or prepared for that."""
        if self._progress.failures and (self.commit is None or self._hold.position >= self.commit.position):
            self.forget()

    def failed(self, failure: HandlingFailed) -> None:
        """Hand over one by one if it may be any of several; count, and try again later or give up."""
        if len(failure.commits) > 1 and not isinstance(failure.error, _HOPELESS):
            self._hold.narrow_until = failure.commits[-1].last_position
            return
        progress, limit = self._progress, self._options.max_attempts
        commit = failure.commits[0] if failure.commits else None
        if commit is not None and commit.position != progress.failing_at:
            progress.failures = 0
        self.commit = commit
        progress.failures += 1
        progress.failing_at = commit.position if commit is not None else 0
        progress.last_error = failure.error
        if isinstance(failure.error, _HOPELESS) or progress.failures >= limit:
            self._give_up(commit, failure.error)
            return
        delay = self._options.backoff.delay(progress.failures)
        self.retry_at = now() + delay
        logger.warning(
            "query %s failed %s, attempt %d of %d, next in %.2f s",
            *(self._options.name, _where(commit), progress.failures, limit, delay),
            exc_info=failure.error,
        )

    def rolled_back(self, error: LogRolledBack) -> None:
        """Stop for good: what was handled is not what the log holds."""
        named = LogRolledBack(f"query {self._options.name!r}", error.known, error.found)
        named.__cause__ = error
        self._stop(named)

    def _give_up(self, commit: StoredCommit | None, error: BaseException) -> None:
        policy = "stop" if isinstance(error, _HOPELESS) else self._options.on_failure
        if commit is None or policy == "stop":
            self._stop(error)
            return
        self._hold.given_up[commit.position] = GivenUp(reason_of(error), park=policy == "park")
        logger.error("query %s: %s what failed %s", self._options.name, policy, _where(commit), exc_info=error)
        self.forget()

    def _stop(self, error: BaseException) -> None:
        self.is_over = True
        self._progress.last_error = error
        self._progress.status = QueryStatus.STOPPED
        logger.error("query %s stopped after %d", self._options.name, self._hold.position, exc_info=error)


def _where(commit: StoredCommit | None) -> str:
    return "before the first event" if commit is None else f"at position {commit.position}"
