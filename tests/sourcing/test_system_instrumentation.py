"""What an instrumentation is told of restarts, how a trace goes on, and that it can harm nothing."""

import asyncio
import logging
from typing import Any

import pytest

from eventree import (
    Actor,
    ActorContext,
    ChildSpec,
    EventSourcing,
    EventStore,
    InvalidArgument,
    StoreUnavailable,
    Supervisor,
    correlation,
)
from eventree.instrumentation import ActorRestart, Instrumentation
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.correlating import ledger_called, metadata, only_event
from sourcing.ledger import Boom, LedgerSystem, add, ledger, refuse
from sourcing.observers import BOOM, TRACE, FailsAtOnce, FailsAtTheEnd, HoldsBack, Idle, Recorder
from sourcing.panics import Panic
from sourcing.reading import Events, Seen, query
from sourcing.waiting import until

pytestmark = pytest.mark.durable


# --- restarts


async def test_each_restart_is_told(recorder: Recorder) -> None:
    bug = RuntimeError("bug")
    async with FailingStore() as store:
        async with EventSourcing(ledger, store, queries=[query("q", Seen())], instrumentation=recorder) as system:
            await system.query("q").caught_up()
            store.fail("append", bug)
            await system.execute("a", add(1))
            store.fail("save_checkpoint", bug)
            await system.execute("a", add(1))
            await until(lambda: len(recorder.restarts) == 2)
        async with system:  # a start again is no restart
            await system.execute("a", add(1))
    assert recorder.restarts == [
        ActorRestart("event sourcing ledger", "commands", 1, bug),
        ActorRestart("ledger queries", "q", 1, bug),
    ]


# --- one carrier


class Clerk(Actor[str, str | None]):
    """Answer with the trace that its sender carries, and execute a command."""

    def __init__(self, system: LedgerSystem) -> None:
        self.system = system

    async def receive(self, message: str, ctx: ActorContext[str, str | None]) -> str | None:
        await self.system.execute(message, add(1))
        return TRACE.get()


async def test_a_trace_goes_from_the_caller_through_a_query_and_an_actor_into_what_they_execute(
    store: EventStore, recorder: Recorder
) -> None:
    other = EventSourcing(ledger_called("other"), store, instrumentation=recorder)
    spec = ChildSpec(id="clerk", start=lambda: Clerk(other))
    answers: list[str | None] = []
    async with Supervisor([other.child_spec(), spec]) as tree:
        clerk = tree.ref(spec)

        async def react(id: str, _: Events) -> None:
            await other.execute(f"{id} of the query", add(1))
            answers.append(await clerk.ask(f"{id} of the actor"))

        async with EventSourcing(ledger, store, queries=[query("q", react)], instrumentation=recorder) as system:
            with TRACE.propagate("web request"), correlation("request-42"):
                await system.execute("a", add(1))
            await system.execute("b", add(1), wait_for=["q"])
            cause = await only_event(system, "a")
            other_cause = await only_event(system, "b")
            by_the_query = await only_event(other, "a of the query")
            by_the_actor = await only_event(other, "a of the actor")
            unrelated = await only_event(other, "b of the actor")
    assert answers == ["web request", other_cause.metadata["trace"]]
    expected = {"trace": "web request", "correlation_id": "request-42"}
    assert cause.metadata == expected
    assert by_the_query.metadata == by_the_actor.metadata == {**expected, "causation_id": str(cause.commit_id)}
    assert unrelated.metadata["trace"] == answers[1] != "web request"


# --- faults


class Carrying(FailingStore):
    """A store that notes what is carried where it is called, beside what is observed."""

    def __init__(self) -> None:
        super().__init__()
        self.carried = set[str | None]()

    def _called(self, method: StoreMethod) -> Any:
        if method != "append":
            self.carried.add(TRACE.get())
        return super()._called(method)


async def all_that_is_observed(observer: Instrumentation) -> list[object]:
    """Use everything; return what callers and handlers get."""
    seen, found = Seen(), list[object]()

    def handler(id: str, events: Events) -> None:
        seen(id, events)
        if len(seen.commits) == 1:
            raise Boom

    async with (
        Carrying() as store,
        EventSourcing(ledger, store, queries=[query("q", handler)], instrumentation=observer) as system,
    ):
        found += [await system.execute("a", add(1)), await system.execute("a", refuse)]
        found += await system.execute_many([("a", add(2)), ("b", add(3))])
        system.execute_nowait("b", add(4))
        await system.query("q").caught_up()
        store.fail("append", StoreUnavailable("away"))
        found.append(type(getattr(await system.execute("a", add(5)), "error", None)))
        store.fail("append", RuntimeError("bug"))
        found.append(type(getattr(await system.execute("a", add(6)), "error", None)))
        found += [await system.execute("a", add(7), wait_for=["q"]), seen.amounts, TRACE.get(), store.carried]
        found.append(await metadata(system, "a"))
    return found


@pytest.mark.parametrize(
    "error",
    [BOOM, asyncio.CancelledError(), StoreUnavailable("not of the store"), StopIteration(), Panic(), GeneratorExit()],
)
@pytest.mark.parametrize("kind", [FailsAtOnce, FailsAtTheEnd])
async def test_one_that_raises_in_every_method_harms_nothing_and_is_logged_once_for_each(
    kind: type[FailsAtOnce] | type[FailsAtTheEnd], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = await all_that_is_observed(Idle())
    caplog.clear()
    observer = kind(error)
    assert await all_that_is_observed(observer) == undisturbed
    assert undisturbed[-3:-1] == [None, {None}]
    logged = [record for record in caplog.records if "later failures of it are not logged" in record.message]
    assert sorted(record.message.split()[0] for record in logged) == [
        f"{kind.__name__}.{method}" for method in ("command", "commit", "delivery", "restart")
    ]
    assert {record.levelno for record in logged} == {logging.ERROR}


async def test_one_that_swallows_errors_holds_nothing_back() -> None:
    assert await all_that_is_observed(HoldsBack()) == await all_that_is_observed(Idle())


async def test_a_wish_to_leave_the_program_leaves_it(store: EventStore) -> None:
    async with EventSourcing(ledger, store, instrumentation=FailsAtOnce(KeyboardInterrupt())) as system:
        with pytest.raises(KeyboardInterrupt):
            system.execute_nowait("a", add(1))


def test_what_is_no_instrumentation_is_refused() -> None:
    store = FailingStore()
    for wrong in (7, object(), Recorder):
        with pytest.raises(InvalidArgument) as caught:
            EventSourcing(ledger, store, instrumentation=wrong)  # type: ignore[arg-type]
        assert caught.value.name == "instrumentation"
