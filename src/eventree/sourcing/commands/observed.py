"""Report commands and their commits to an instrumentation."""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from eventree.actors import ActorRef
from eventree.commit import Commit
from eventree.errors import DomainError
from eventree.errors.failures import is_failure
from eventree.instrumentation import BatchCommit, CommandExecution
from eventree.instrumentation.context import CARRIED
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.result import Err, Ok
from eventree.sourcing.commands.decide import AggregateBatch
from eventree.sourcing.commands.requests import CommandEnvelope, CommandResult, with_execution
from eventree.stores.contract import Appended, Conflict, DuplicateCommand, Outcome

CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


class ObservedCommand(Generic[CommandT]):
    """Observe a command through an instrumentation, in a copy of the caller's `contextvars`.

    Attributes:
        request: The command, with the metadata that the instrumentation has added.
    """

    def __init__(
        self, instrumentation: GuardedInstrumentation, aggregate_type: str, request: CommandEnvelope[CommandT]
    ) -> None:
        """Enter the instrumentation's context manager.

        Args:
            instrumentation: Observes it.
            aggregate_type: The name of the aggregate's type.
            request: The command.
        """
        name = type(request.command).__name__
        self._execution = CommandExecution(
            aggregate_type, request.aggregate_id, name, request.command_id, request.commit_id
        )
        self._context = copy_context()
        self._scope = instrumentation.command(self._execution)
        self._context.run(self._scope.__enter__)
        self._execution.context = self._context.get(CARRIED)
        self.request = self._with_metadata(request, instrumentation)

    def _with_metadata(
        self, request: CommandEnvelope[CommandT], instrumentation: GuardedInstrumentation
    ) -> CommandEnvelope[CommandT]:
        try:
            return with_execution(request, self._execution, self._execution.metadata)
        except BaseException as error:  # no metadata may keep the command from being executed
            if not is_failure(error):
                raise
            instrumentation.log("command", error)
            return with_execution(request, self._execution, {})

    def finish(self, answer: CommandResult[EventT, ErrorT] | BaseException) -> None:
        """Fill in the outcome, given an answer or an exception, and leave the instrumentation's context manager."""
        execution = self._execution
        raised: BaseException | None = None
        match answer:
            case Ok(commit):
                _committed(execution, commit)
            case Err(DomainError() as error):
                execution.outcome, execution.error = "refused", error
            case Err(error):
                execution.outcome, execution.error = "failed", error
            case BaseException():
                raised = answer
                execution.outcome, execution.error = "failed", raised
        traceback = None if raised is None else raised.__traceback__
        self._context.run(self._scope.__exit__, None if raised is None else type(raised), raised, traceback)

    def finish_with(self, answer: "asyncio.Future[CommandResult[EventT, ErrorT]]") -> None:
        """Finish with the answer or the exception of a future."""
        if answer.cancelled():
            self.finish(asyncio.CancelledError())
        else:
            self.finish(answer.exception() or answer.result())


def _committed(execution: CommandExecution, commit: Commit[Any]) -> None:
    execution.outcome = "committed"
    execution.commit_id = commit.commit_id
    execution.sequence, execution.position = commit.sequence, commit.position
    execution.events = len(commit.events)


class ObservedCommands(Generic[CommandT, EventT, ErrorT]):
    """Send commands to their actor, each observed by an instrumentation."""

    def __init__(
        self,
        instrumentation: GuardedInstrumentation,
        aggregate_type: str,
        commands: ActorRef[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]],
    ) -> None:
        """Create a sender of observed commands.

        Args:
            instrumentation: Observes the commands.
            aggregate_type: The name of the aggregates' type.
            commands: The actor that executes them.
        """
        self._instrumentation = instrumentation
        self._aggregate_type = aggregate_type
        self._commands = commands

    async def ask(self, request: CommandEnvelope[CommandT], timeout: float) -> CommandResult[EventT, ErrorT]:
        """See `ActorRef.ask`."""
        self._commands.check_loop()
        observed = self._observe(request)
        try:
            answer = await self._commands.ask(observed.request, timeout=timeout, operation="execute")
        except BaseException as error:
            observed.finish(error)
            raise
        observed.finish(answer)
        return answer

    def ask_nowait(self, request: CommandEnvelope[CommandT]) -> "asyncio.Future[CommandResult[EventT, ErrorT]]":
        """See `ActorRef.ask_nowait`."""
        self._commands.check_loop()
        observed = self._observe(request)
        try:
            answer = self._commands.ask_nowait(observed.request)
        except BaseException as error:
            observed.finish(error)
            raise
        answer.add_done_callback(observed.finish_with)
        return answer

    async def ask_many(
        self, requests: Iterable[CommandEnvelope[CommandT]], timeout: float
    ) -> "list[CommandResult[EventT, ErrorT] | BaseException]":
        """See `ActorRef.ask_many`."""
        observed = [self._observe(request) for request in requests]
        try:
            answers = await self._commands.ask_many(
                [each.request for each in observed], timeout=timeout, operation="execute_many"
            )
        except BaseException as error:
            for each in observed:
                each.finish(error)
            raise
        for each, answer in zip(observed, answers, strict=True):
            each.finish(answer)
        return answers

    def _observe(self, request: CommandEnvelope[CommandT]) -> ObservedCommand[CommandT]:
        return ObservedCommand(self._instrumentation, self._aggregate_type, request)


# --- in the actor


def batch_commit(
    aggregate_type: str, batches: Sequence[AggregateBatch[Any, Any, Any, Any]], attempt: int
) -> BatchCommit:
    """Return the record of a transaction that is about to begin.

    Args:
        aggregate_type: The name of the aggregates' type.
        batches: The decisions to append; none if they are made inside the transaction.
        attempt: From 1; one more after each conflict.
    """
    record = BatchCommit(aggregate_type, (), attempt, 0, 0)
    record_batches(record, batches)
    return record


def record_batches(record: BatchCommit, batches: Sequence[AggregateBatch[Any, Any, Any, Any]]) -> None:
    """Write the decisions to append into the record of a transaction."""
    executions = [decision.request.message.execution for batch in batches for decision in batch.decisions]
    record.commands = [execution for execution in executions if execution is not None]
    record.requests = len(batches)
    record.events = sum(len(batch.events) for batch in batches)


def record_outcomes(batch: BatchCommit, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes of its requests into the record of a transaction, whatever the instrumentation wrote there."""
    appended = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
    batch.appended = len(appended)
    batch.position = max((outcome.position for outcome in appended), default=0)
    batch.conflicts = sum(isinstance(outcome, Conflict) for outcome in outcomes)
    batch.duplicates = sum(isinstance(outcome, DuplicateCommand) for outcome in outcomes)
