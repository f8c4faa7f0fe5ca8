"""Instrumentations: one that records what it is told, and one that fails whenever it can."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eventree.instrumentation import (
    ActorRestart,
    BatchCommit,
    Carried,
    CommandExecution,
    Instrumentation,
    QueryDelivery,
)
from sourcing.ledger import Boom

TRACE: Carried[str] = Carried("trace")


class Recorder(Instrumentation):
    """Record what it is told, and give each command a trace: that of where it is executed, or a new one.

    Attributes:
        seen: What began and ended, in order, with the class of what passed through.
        traces: The trace of each command in each commit, and of each commit in each delivery.
    """

    def __init__(self) -> None:
        self.commands: list[CommandExecution] = []
        self.commits: list[BatchCommit] = []
        self.deliveries: list[QueryDelivery] = []
        self.restarts: list[ActorRestart] = []
        self.seen: list[str] = []
        self.traces: list[tuple[str, str | None]] = []

    @contextmanager
    def command(self, command: CommandExecution) -> Iterator[None]:
        self.commands.append(command)
        trace = TRACE.get() or f"trace {len(self.commands)}"
        command.metadata["trace"] = trace
        with self._noting("command"), TRACE.propagate(trace):
            yield

    @contextmanager
    def commit(self, batch: BatchCommit) -> Iterator[None]:
        self.commits.append(batch)
        self.traces += [("commit", TRACE.of(command.context)) for command in batch.commands]
        with self._noting("commit"):
            yield

    @contextmanager
    def delivery(self, delivery: QueryDelivery) -> Iterator[None]:
        self.deliveries.append(delivery)
        traces = [commit.metadata.get("trace") for commit in delivery.commits]
        self.traces += [("delivery", trace) for trace in traces]
        with self._noting("delivery"), TRACE.propagate(traces[0] or "none"):
            yield

    def restart(self, restart: ActorRestart) -> None:
        self.restarts.append(restart)

    @contextmanager
    def _noting(self, what: str) -> Generator[None, None, None]:
        self.seen.append(f"{what} begins")
        try:
            yield
        except BaseException as error:
            self.seen.append(f"{what}: {type(error).__name__}")
            raise
        self.seen.append(f"{what} ends")


class Idle(Instrumentation):
    """Observe nothing."""


class FailsAtOnce(Instrumentation):
    """Raise in every method."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _fail(self, record: object) -> Any:
        raise self.error

    command = commit = delivery = restart = _fail


class FailsAtTheEnd(Instrumentation):
    """Raise at the end of what is observed, and in place of what it raised; leave something carried behind."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @contextmanager
    def _fail(self, record: object) -> Iterator[None]:
        TRACE.propagate("left behind").__enter__()
        try:
            yield
        finally:
            raise self.error

    command = commit = delivery = _fail

    def restart(self, restart: ActorRestart) -> None:
        raise self.error


class HoldsBack(Instrumentation):
    """Try to swallow what is raised."""

    @contextmanager
    def _swallow(self, record: object) -> Iterator[None]:
        with suppress(BaseException):
            yield

    command = commit = delivery = _swallow


class SpoilsMetadata(Instrumentation):
    """Add metadata that cannot be stored."""

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata

    @contextmanager
    def command(self, command: CommandExecution) -> Iterator[None]:
        command.metadata = self.metadata
        yield


BOOM = Boom("instrumentation")
