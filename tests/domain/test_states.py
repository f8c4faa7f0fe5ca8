"""What `apply` returns is a state or a bug, and its arguments stand in one order."""

# ruff: noqa: ARG001, ARG005 - functions that are only looked at, also without annotations
# mypy: disable-error-code="no-untyped-def, arg-type, return, return-value, empty-body"

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch, wraps
from typing import Any, Protocol, TypedDict, TypeVar, Union

import pytest

from eventree import AggregateType, Err, EventSourcing, HandlerCrashed, InvalidArgument, MemoryStore, Ok, Result


@dataclass
class Stock:
    count: int = 0


@dataclass
class Rare(Stock):
    pass


@dataclass
class Sold:
    pass


@dataclass(frozen=True)
class Received:
    count: int = 1


@dataclass(frozen=True)
class Counted:
    pass


class Countable(Protocol):
    count: int


class Shape(TypedDict):
    count: int


StateT = TypeVar("StateT")
Given = Callable[..., Any]


def handle(state: Any, command: Any) -> Any:
    return Ok(command)


def made(apply: Given, empty: Given = Stock, **more: Any) -> AggregateType[Any, Any, Any, Any]:
    return AggregateType("stock", **{"handle": handle, "apply": apply, "empty_state": empty, **more})


# --- what is no state


def forgets(state: Stock, event: Received) -> Stock:
    state.count += event.count


def forgets_silently(state: Stock, event: Received):
    state.count += event.count


def forgets_of_two(state: Stock | Sold, event: Received) -> Union[Stock, Sold]:  # noqa: UP007
    pass


def returns_the_event(state: Stock, event: Received) -> Stock:
    return event


def returns_the_event_silently(state: Stock, event: Received):
    return event


def returns_a_list(state: Stock, event: Received) -> Stock:
    return [state]


def untyped(state, event):
    pass


NO_STATES: list[tuple[Given, dict[str, Any]]] = [
    (forgets, {}),
    (forgets_silently, {}),
    (forgets_of_two, {}),
    (returns_the_event, {}),
    (returns_the_event_silently, {}),
    (returns_a_list, {}),
    (untyped, {"events": [Received]}),
    (untyped, {"events": [Received], "state": [Stock]}),
    (lambda state, event: event, {"events": [Received], "state": [Stock]}),
    (lambda state, event: event, {"events": [Received]}),
    (lambda state, event: 5, {"events": [Received]}),
    (lambda state, event: (state,), {"events": [Received]}),
    (lambda state, event: Ok(state), {"events": [Received]}),
    (lambda state, event: Err("no"), {"events": [Received]}),
    (lambda state, event: Stock, {"events": [Received]}),
    (lambda state, event: NotImplemented, {"events": [Received]}),
    (lambda state, event: (state for _ in ()), {"events": [Received], "empty_state": dict}),
    (lambda state, event: iter([state]), {"events": [Received]}),
]


@pytest.mark.parametrize(("apply", "more"), NO_STATES)
async def test_an_apply_that_returns_no_state_has_crashed_and_nothing_is_stored(
    apply: Given, more: dict[str, Any]
) -> None:
    async with MemoryStore() as store, EventSourcing(made(apply, **more), store) as system:
        for events in ([Received()], [Received(4711), Received()]):
            failed = await system.execute("a", events)
            assert isinstance(failed, Err)
            assert isinstance(failed.error, HandlerCrashed)
            assert (failed.error.function, type(failed.error.__cause__)) == ("apply", TypeError)
            assert "must return the state after the event" in str(failed.error)
            assert "4711" not in str(failed.error)
        assert await store.head() == 0
        assert (await system.execute("a", [])).unwrap().sequence == 0


async def test_an_apply_that_returns_no_state_of_a_stored_event_is_told_when_it_is_loaded() -> None:
    async with MemoryStore() as store:
        async with EventSourcing(made(lambda state, event: state, events=[Received]), store) as writer:
            await writer.execute("a", [Received()])
        async with EventSourcing(made(forgets), store) as system:
            for answer in (await system.execute("a", []), await system.load_aggregate("a")):
                assert isinstance(answer, Err)
                assert isinstance(answer.error, HandlerCrashed)


def test_an_apply_that_is_declared_to_return_none_is_refused() -> None:
    def apply(state: Stock, event: Received) -> None:
        state.count += event.count

    with pytest.raises(InvalidArgument, match="declared to return None") as refused:
        made(apply)
    assert refused.value.name == "apply"


# --- what may be one


def optional(state: Stock | None, event: Received) -> Stock | None:
    return None


def optional_by_return(state: Stock, event: Received) -> Stock | None:
    return None


def stateless(state: None, event: Received) -> None:
    return None


def narrower(state: Stock, event: Received) -> Stock:
    return Rare(state.count)


def wider_return(state: Stock, event: Received) -> Stock | Sold:
    return Sold()


def of_anything(state: Any, event: Received) -> Any:
    return None


def of_object(state: object, event: Received) -> object:
    return None


def generic(state: StateT, event: Received) -> StateT:
    return state


def by_protocol(state: Countable, event: Received) -> Countable:
    return Received()


def by_typed_dict(state: Shape, event: Received) -> Shape:
    return {"count": 1}


def by_dict(state: dict[str, int], event: Received) -> dict[str, int]:
    return {"count": 1}


def by_float(state: float, event: Received) -> float:
    return 1


def unresolved(state: "Nowhere", event: Received) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
    return Sold()


def in_place(apply: Given) -> Given:
    @wraps(apply)
    def wrapper(state: Any, event: Any) -> Any:
        apply(state, event)
        return state

    return wrapper


@in_place
def decorated(state: Stock, event: Received) -> None:
    state.count += 1


@singledispatch
def dispatched(state: Stock, event: Received) -> Stock:
    return Sold()


MAY_BE_STATES: list[tuple[Given, Given, dict[str, Any]]] = [
    (optional, Stock, {}),
    (optional_by_return, Stock, {}),
    (stateless, lambda: None, {}),
    (narrower, Stock, {}),
    (wider_return, Stock, {}),
    (of_anything, Stock, {}),
    (of_object, Stock, {}),
    (generic, Stock, {}),
    (by_protocol, Stock, {}),
    (by_typed_dict, dict, {}),
    (by_dict, dict, {}),
    (by_float, float, {}),
    (unresolved, Stock, {"events": [Received]}),
    (decorated, Stock, {}),
    (dispatched, Stock, {}),
    (untyped, lambda: None, {"events": [Received]}),
    (lambda state, event: Sold(), Stock, {"events": [Received]}),
    (lambda state, event: Sold(), Stock, {"events": [Received], "state": [Stock, Sold]}),
    (lambda state, event: Sold(), dict, {"events": [Received]}),
    (lambda state, event: {}, list, {"events": [Received]}),
    (lambda state, event: event, lambda: None, {"events": [Received]}),
    (lambda state, event: event, Counted, {"events": [Received, Counted]}),
    (lambda state, event: 7, lambda: 0, {"events": [Received], "state": [Stock]}),  # as the empty state is one
]


@pytest.mark.parametrize(("apply", "empty", "more"), MAY_BE_STATES)
async def test_whatever_may_be_a_state_is_stored(apply: Given, empty: Given, more: dict[str, Any]) -> None:
    async with MemoryStore() as store, EventSourcing(made(apply, empty, **more), store) as system:
        for _ in range(2):
            assert isinstance(await system.execute("a", [Received(), Received()]), Ok)
        assert await store.head() == 4


# --- the order of arguments


def swapped(event: Received, state: Stock) -> Stock:
    return state


def swapped_silently(event: Received, state: Stock):
    return state


def swapped_union(event: Received | Counted, state: Stock | Sold) -> Stock | Sold:
    return state


def handle_swapped(command: int, state: Stock) -> Result[Sequence[Received], str]:
    return Ok([])


def handle_typed(state: Stock, command: int) -> Result[Sequence[Received], str]:
    return Ok([])


def right(state: Stock, event: Received) -> Stock:
    return state


def empty() -> Stock:
    return Stock()


def silently_empty():
    return Stock()


@pytest.mark.parametrize(
    ("apply", "more"),
    [
        (swapped, {}),
        (swapped_union, {}),
        (swapped, {"events": [Received], "state": [Stock]}),
        (swapped_silently, {"empty_state": Stock}),
        (swapped_silently, {"empty_state": empty}),
        (swapped_silently, {"empty_state": silently_empty, "handle": handle_typed}),
        (swapped_silently, {"empty_state": silently_empty, "events": [Received]}),
        (swapped_silently, {"empty_state": silently_empty, "state": [Stock], "events": [Received]}),
    ],
)
def test_an_apply_that_takes_the_event_first_is_refused(apply: Given, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="other way round") as refused:
        made(apply, **more)
    assert refused.value.name == "apply"


def test_a_handle_that_takes_the_command_first_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="other way round") as refused:
        made(right, handle=handle_swapped)
    assert refused.value.name == "handle"


def whole(state: Stock, event: Stock) -> Stock:
    """Take an event that is the next state."""
    return event


def part_of_the_state(state: Sold, event: Received) -> Stock:
    return Stock()


@pytest.mark.parametrize(
    ("apply", "more"),
    [
        (right, {"handle": handle_typed}),
        (whole, {}),
        (whole, {"events": [Stock], "state": [Stock]}),
        (part_of_the_state, {}),
        (narrower, {"empty_state": Rare}),
        (generic, {}),
        (by_protocol, {"empty_state": Received}),
    ],
)
def test_an_order_that_may_be_right_is_taken(apply: Given, more: dict[str, Any]) -> None:
    assert made(apply, **more).apply is apply


# --- event classes


class Keyed(TypedDict):
    key: str


@pytest.mark.parametrize("event", [dict, list, str, int, Keyed])
def test_an_event_class_that_is_none_of_ones_own_is_refused(event: type) -> None:
    def apply(state: Stock, event: Any) -> Stock:
        return state

    with pytest.raises(InvalidArgument, match="classes of your own") as refused:
        made(apply, events=[event])
    assert refused.value.name == "events"
    apply.__annotations__["event"] = event
    with pytest.raises(InvalidArgument, match="classes of your own"):
        made(apply)


@pytest.mark.parametrize("name", ["events", "state"])
def test_a_class_instead_of_a_list_of_classes_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"must be a list of classes, such as {name}=\[Stock\]") as refused:
        made(right, **{name: Stock})
    assert refused.value.name == name
