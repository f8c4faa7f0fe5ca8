"""A bug of the domain is the answer to its command, also where it raises what is no `Exception`."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from eventree import AggregateType, Err, EventSourcing, EventStore, HandlerCrashed, Ok, SnapshotConfig, event_type
from eventree.errors import ActorCrashed, CodecError
from sourcing.ledger import Added, Ledger, add, apply, entries, handle, ledger
from sourcing.panics import Panic, panics, plain_panics, throw, wishes
from sourcing.waiting import nothing_to_write

Make = Callable[[], BaseException]


def error_of(answer: object) -> object:
    assert isinstance(answer, Err)
    return answer.error


@plain_panics
async def test_a_handle_that_panics_is_alone_in_that_however_often(store: EventStore, panic: Make) -> None:
    async with EventSourcing(ledger, store) as system:
        for number in range(6):
            got = await system.execute_many([("a", lambda _: throw(panic())), ("b", add(number)), ("a", add(number))])
            crashed = error_of(got[0])
            assert isinstance(crashed, HandlerCrashed)
            assert (crashed.function, type(crashed.__cause__)) == ("handle", type(panic()))
            assert [isinstance(each, Ok) for each in got] == [False, True, True]
        assert await entries(system, "a") == await entries(system, "b") == list(range(6))
        assert (await system.system_stats()).actor_restarts == 0


@plain_panics
async def test_an_apply_that_panics_is_the_answer_before_and_after_its_event_is_stored(
    store: EventStore, panic: Make
) -> None:
    def panics(state: Ledger, event: Added) -> Ledger:
        return throw(panic()) if event.amount < 0 else apply(state, event)

    async with EventSourcing(ledger, store) as writer:
        await writer.execute("stored", add(-1))
    async with EventSourcing(AggregateType("ledger", handle=handle, apply=panics, empty_state=Ledger), store) as system:
        got = await system.execute_many([("new", add(-1)), ("fine", add(1)), ("stored", add(1))])
        errors = [error_of(got[0]), error_of(got[2]), error_of(await system.load_aggregate("stored"))]
        assert all(isinstance(error, HandlerCrashed) and error.function == "apply" for error in errors)
        assert isinstance(got[1], Ok)
        assert await store.head() == 2
        assert (await system.system_stats()).actor_restarts == 0


@plain_panics
async def test_an_empty_state_that_panics_is_the_answer(store: EventStore, panic: Make) -> None:
    kind = AggregateType("ledger", handle=handle, apply=apply, empty_state=lambda: throw(panic()))
    async with EventSourcing(kind, store) as system:
        for answer in (await system.execute("a", add(1)), await system.load_aggregate("a")):
            crashed = error_of(answer)
            assert isinstance(crashed, HandlerCrashed)
            assert crashed.function == "empty_state"
        assert (await system.system_stats()).actor_restarts == 0


@pytest.fixture
def fragile() -> Any:
    """Return an event class whose methods panic on demand."""

    class Fragile:
        raises: ClassVar[dict[str, Make]] = {}
        amount: int

        def __post_init__(self) -> None:
            self._panic("post_init")

        def __eq__(self, other: object) -> bool:
            self._panic("eq")
            return isinstance(other, Fragile) and self.amount == other.amount

        __hash__ = None  # type: ignore[assignment]

        def _panic(self, where: str) -> None:
            if where in self.raises:
                throw(self.raises[where]())

    return dataclass(eq=False)(type("Fragile", (Fragile,), {"__annotations__": {"amount": int}}))


def type_of(event: Any) -> AggregateType[Any, Any, Any, Any]:
    return AggregateType("free", handle=handle, apply=lambda state, _: state, empty_state=dict, events=[event])


@plain_panics
async def test_an_event_that_panics_when_it_is_made_is_alone_in_that(
    store: EventStore, fragile: Any, panic: Make
) -> None:
    event = fragile(1)
    async with EventSourcing(type_of(fragile), store) as system:
        assert isinstance(await system.execute("stored", lambda _: Ok([event])), Ok)
    fragile.raises["post_init"] = panic
    async with EventSourcing(type_of(fragile), store) as system:
        got = await system.execute_many(
            [
                ("new", lambda _: Ok([event])),
                ("stored", lambda _: Ok([])),
                ("fine", lambda _: Ok([])),
            ]
        )
        errors = [error_of(got[0]), error_of(got[1]), error_of(await system.load_events("stored"))]
        assert all(isinstance(error, CodecError) for error in errors)
        assert isinstance(got[2], Ok)
        assert (await system.system_stats()).actor_restarts == 0


@dataclass
class Holder:
    """An event with a part that panics when it is compared, which is never stored."""

    part: Any


class Unequal(int):
    panic: Make = Panic

    def __eq__(self, other: object) -> bool:
        raise type(self).panic()

    __hash__ = int.__hash__


@plain_panics
async def test_a_part_that_panics_when_it_is_compared_is_the_answer(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, panic: Make
) -> None:
    monkeypatch.setattr(Unequal, "panic", staticmethod(panic))
    async with EventSourcing(type_of(Holder), store) as system:
        got = await system.execute_many([("a", lambda _: Ok([Holder(Unequal(1))])), ("b", lambda _: Ok([Holder(1)]))])
        assert isinstance(error_of(got[0]), CodecError)
        assert isinstance(got[1], Ok)
        assert (await system.system_stats()).actor_restarts == 0


@plain_panics
async def test_an_upcaster_that_panics_stops_its_aggregate_only(store: EventStore, panic: Make) -> None:
    @dataclass(frozen=True)
    class Old:
        value: int

    @event_type(name="Old", upcasters={1: lambda _: throw(panic())})
    @dataclass(frozen=True)
    class New:
        value: int

    async with EventSourcing(type_of(Old), store) as system:
        await system.execute("old", lambda _: Ok([Old(1)]))
    async with EventSourcing(type_of(New), store) as system:
        got = await system.execute_many([("old", lambda _: Ok([])), ("new", lambda _: Ok([New(1)]))])
        assert isinstance(error_of(got[0]), CodecError)
        assert isinstance(got[1], Ok)
        assert (await system.system_stats()).actor_restarts == 0


@plain_panics
async def test_snapshots_that_panic_cost_only_themselves(store: EventStore, panic: Make) -> None:
    class Policy:
        def is_due(self, before: int, after: int, replay_seconds: float) -> bool:
            return throw(panic()) if after == 1 else True

    @dataclass
    class State:
        value: int = 0
        raises = False

        def __post_init__(self) -> None:
            if type(self).raises:
                raise panic()

    kind: AggregateType[Any, Any, Any, Any] = AggregateType(
        "free", handle=handle, apply=lambda state, _: state, empty_state=State, events=[Added], state=[State]
    )
    async with EventSourcing(kind, store, snapshots=Policy()) as system:
        assert isinstance(await system.execute("a", add(1)), Ok)
        State.raises = True
        assert isinstance(await system.execute("a", add(1)), Ok)
        State.raises = False
        assert isinstance(await system.execute("b", add(1, 2)), Ok)
        await nothing_to_write(system)
        stats = await system.system_stats()
        assert (stats.snapshots_dropped, stats.snapshots_written, stats.actor_restarts) == (2, 1, 0)
    async with EventSourcing(kind, store, snapshots=SnapshotConfig(frequency=1)) as system:
        State.raises = True
        assert await system.latest_snapshot("b") == Ok(None)
        assert isinstance(
            error_of(await system.load_aggregate("b")), HandlerCrashed
        )  # of the empty state, used instead
        State.raises = False
        assert (await system.load_aggregate("b")).unwrap().sequence == 2
        assert (await system.system_stats()).snapshots_ignored == 2


@wishes
async def test_a_wish_to_leave_is_no_bug(store: EventStore, wish: Make) -> None:
    """It ends the program, as before; the group only crashes the actor, as it did."""
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        async with EventSourcing(ledger, store) as system:
            answer = await system.execute("a", lambda _: throw(wish()))
            assert isinstance(error_of(answer), ActorCrashed)
            async with asyncio.timeout(10):
                await asyncio.Event().wait()


# --- what is logged of it


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.exc_info or "HandlerCrashed" in record.getMessage()]


@panics
async def test_a_crash_names_its_cause_in_its_text(store: EventStore, panic: Make) -> None:
    async with EventSourcing(ledger, store) as system:
        crashed = error_of(await system.execute("a", lambda _: throw(panic())))
    assert type(panic()).__name__ in str(crashed)
    assert "Speechless" in str(crashed) or str(panic()) in str(crashed)


class Secretive(Exception):
    pass


SECRET = 4711


@pytest.mark.parametrize("how", ["execute", "execute_nowait", "execute_many"])
async def test_a_crash_is_logged_once_with_its_traceback_and_nothing_of_its_command(
    store: EventStore, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    def buggy(_: Ledger, __: int) -> Any:
        raise Secretive("why")

    kind: AggregateType[Any, Any, Any, Any] = AggregateType("ledger", handle=buggy, apply=apply, empty_state=Ledger)
    async with EventSourcing(kind, store) as system:
        if how == "execute":
            await system.execute("a", SECRET)
        elif how == "execute_many":
            await system.execute_many([("a", SECRET)])
        else:
            system.execute_nowait("a", SECRET)
            await system.load_aggregate("a")
            while not (await system.system_stats()).commands_failed:  # noqa: ASYNC110
                await asyncio.sleep(0)
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "eventree")
    assert "handle of ledger failed for 'a' with Secretive: why" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Secretive)
    assert "in buggy" in caplog.text
    assert str(SECRET) not in caplog.text


async def test_a_crash_that_many_commands_share_is_logged_once(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(_: Ledger, __: Added) -> Ledger:
        raise Secretive("no")

    async with EventSourcing(ledger, store) as writer:
        await writer.execute_many([("a", add(1)), ("b", add(1))])
    async with EventSourcing(AggregateType("ledger", handle=handle, apply=breaks, empty_state=Ledger), store) as system:
        got = await system.execute_many([(id, add(1)) for id in "ababab"])
        assert all(isinstance(error_of(each), HandlerCrashed) for each in got)
        assert len(logged(caplog)) == 2
        caplog.clear()
        assert isinstance(error_of(await system.load_aggregate("a")), HandlerCrashed)
        assert len(logged(caplog)) == 1


async def test_a_repeated_command_whose_decision_is_not_its_answer_logs_nothing(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    def once(state: Ledger) -> Any:
        if state.entries:
            raise Secretive("twice")
        return Ok([Added(1)])

    async with EventSourcing(ledger, store) as system:
        first = await system.execute("a", once, command_id="once")
        assert await system.execute("a", once, command_id="once") == first
    assert caplog.records == []
