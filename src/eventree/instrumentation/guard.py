"""Keep the errors of an instrumentation away from the work that it observes."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from eventree.errors import InvalidArgument
from eventree.errors.failures import is_failure
from eventree.errors.showing import loggable
from eventree.instrumentation.context import CARRIED
from eventree.instrumentation.protocol import (
    ActorRestart,
    BatchCommit,
    CommandExecution,
    Instrumentation,
    QueryDelivery,
)

RecordT = TypeVar("RecordT")

logger = logging.getLogger("eventree")


class GuardedInstrumentation(Instrumentation):
    """Call an instrumentation; log the first error of each of its methods, and continue without it."""

    def __init__(self, instrumentation: Instrumentation) -> None:
        """Wrap an instrumentation."""
        self._inner = instrumentation
        self._logged: set[str] = set()

    @classmethod
    def of(cls, instrumentation: Instrumentation) -> Self:
        """Validate an instrumentation and wrap it, unless it is wrapped already.

        Raises:
            InvalidArgument: It lacks a method.
        """
        if isinstance(instrumentation, cls):
            return instrumentation
        if isinstance(instrumentation, type) or not isinstance(instrumentation, Instrumentation):
            raise InvalidArgument(
                "instrumentation", f"must have the methods of Instrumentation, got {instrumentation!r}"
            )
        return cls(instrumentation)

    def command(self, command: CommandExecution, /) -> AbstractContextManager[None]:
        """See `Instrumentation`."""
        return _GuardedScope(self, "command", self._inner.command, command)

    def commit(self, batch: BatchCommit, /) -> AbstractContextManager[None]:
        """See `Instrumentation`."""
        return _GuardedScope(self, "commit", self._inner.commit, batch)

    def delivery(self, delivery: QueryDelivery, /) -> AbstractContextManager[None]:
        """See `Instrumentation`."""
        return _GuardedScope(self, "delivery", self._inner.delivery, delivery)

    def restart(self, restart: ActorRestart, /) -> None:
        """See `Instrumentation`."""
        try:
            self._inner.restart(restart)
        except BaseException as error:
            if not is_failure(error, cancelled=False):
                raise
            self.log("restart", error)

    def log(self, method: str, error: BaseException) -> None:
        """Log an error of a method, unless one was logged for it before."""
        if method not in self._logged:
            self._logged.add(method)
            name = type(self._inner).__name__
            logger.error("%s.%s failed; later failures of it are not logged", name, method, exc_info=loggable(error))


class _GuardedScope(AbstractContextManager[None]):
    """Enter and leave the context manager of an instrumentation."""

    __slots__ = ("_carried", "_guard", "_method", "_open", "_scope")

    def __init__(
        self,
        guard: GuardedInstrumentation,
        method: str,
        open_: Callable[[RecordT], AbstractContextManager[object]],
        record: RecordT,
    ) -> None:
        self._guard = guard
        self._method = method
        self._open: Callable[[], AbstractContextManager[object]] = partial(open_, record)
        self._scope: AbstractContextManager[object] | None = None
        self._carried = CARRIED.get()

    def __enter__(self) -> None:
        self._carried = CARRIED.get()
        try:
            scope = self._open()
            scope.__enter__()
        except BaseException as error:
            if not is_failure(error, cancelled=False):
                raise
            self._guard.log(self._method, error)
            self._restore_context()
        else:
            self._scope = scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._scope is None:
            return
        try:
            self._scope.__exit__(kind, error, traceback)
        except BaseException as raised:
            if not is_failure(raised, cancelled=False) and raised is not error:
                raise
            if raised is not error:
                self._guard.log(self._method, raised)
        finally:
            self._restore_context()

    def _restore_context(self) -> None:
        """Undo changes that the instrumentation left behind in the message context."""
        if CARRIED.get() is not self._carried:
            CARRIED.set(self._carried)
