"""Wait until systems have nothing left to do."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from eventree.errors import ActorTimeout, InvalidArgument, QueryStopped, QuerySuperseded
from eventree.errors.root import check_positive, error_text
from eventree.sourcing.queries.context import refuse_in_transaction
from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.status import QueryStatus
from eventree.sourcing.system import EventSourcing
from eventree.sourcing.tree import Tree

AnySystem: TypeAlias = EventSourcing[Any, Any, Any, Any]
AnyTree: TypeAlias = Tree[Any, Any, Any, Any]


async def settled(*systems: AnySystem, timeout: float = 5.0) -> None:
    """Wait until every query has handled all stored events, and no pending command could store more.

    This includes the consequences: commands that handlers execute in any of these systems and the events of those
    commands, commands that `execute_nowait` has put into a mailbox, and snapshots that are due. A commit that a query
    skips or parks counts as handled. A query that is superseded by a newer version is ignored, as it handles no more
    events. So pass all systems that send commands to each other, and await any other tasks that your code or your
    handlers have started.

    Args:
        systems: Running systems, at least one.
        timeout: How long to wait for all of them, in seconds; default 5.

    Raises:
        ActorTimeout: They have not settled in time; the message names what is left.
        QueryStopped: A query has stopped after a failure.
        InvalidArgument: No system was given; or a query is paused before the end, so this would wait forever.
        ActorStopped: A system is not running.
        AskCycle, WouldDeadlock: The caller is a handler of one of the queries, or in the transaction of a projection.
        EventStoreError: A store could not be read.
    """
    check_positive("timeout", timeout)
    if not systems or not all(isinstance(system, EventSourcing) for system in systems):
        raise InvalidArgument("systems", f"must be at least one EventSourcing, one argument each, got {systems!r}")
    refuse_in_transaction("settled")
    # Only tests need the tree, so it is not part of the public interface of EventSourcing.
    trees = [system._tree for system in systems]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    before: list[int] = []
    try:
        async with asyncio.timeout(timeout):
            # Settled when no event was stored between two rounds: then no handler can send another command.
            while (heads := [await tree.wait_until_idle(timeout) for tree in trees]) != before:
                before = heads
                for tree, head in zip(trees, heads, strict=True):
                    for query in list(tree.queries.values()):
                        await _caught_up(query, head, timeout)
    except TimeoutError:
        behind = _behind(trees, before)
        left = [_describe(query, head) for query, head in behind] + _waiting(trees) or ["an end of new events"]
        cause = next((query.last_error for query, _ in behind if query.last_error is not None), None)
        raise ActorTimeout(f"settled, waiting for {', '.join(left)},", timeout) from cause


async def _caught_up(query: QueryHandle, head: int, timeout: float) -> None:
    if query.position < head and any(part.state.is_paused for part in query.parts):
        raise InvalidArgument(
            "systems", f"{_describe(query, head)} would never catch up; resume it, or leave out its system"
        )
    try:
        await query.caught_up(timeout=timeout)
    except QueryStopped as error:
        if not isinstance(error.__cause__, QuerySuperseded):
            raise


def _behind(trees: Sequence[AnyTree], heads: Sequence[int]) -> list[tuple[QueryHandle, int]]:
    """Return the queries behind the head that was read last, each with that head."""
    return [
        (query, head)
        for tree, head in zip(trees, heads, strict=False)
        for query in tree.queries.values()
        if query.position < head and query.status is not QueryStatus.SUPERSEDED
    ]


def _waiting(trees: Sequence[AnyTree]) -> list[str]:
    mailboxes = [(ref.id, ref.mailbox) for tree in trees for ref in tree.workers]
    return [
        f"{id} ({len(mailbox)} waiting, {len(mailbox.in_progress)} in progress)"
        for id, mailbox in mailboxes
        if len(mailbox) or mailbox.in_progress
    ]


def _describe(query: QueryHandle, head: int) -> str:
    last = f", {error_text(query.last_error).removesuffix(': ')}" if query.last_error is not None else ""
    return f"query {query.name!r} ({query.status.value} at position {query.position} of {head}{last})"
