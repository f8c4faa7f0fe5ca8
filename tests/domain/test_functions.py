"""A function that cannot take its arguments is refused when it is given."""

# ruff: noqa: ARG001, ARG005 - these functions are only looked at

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any
from unittest.mock import Mock

import msgspec
import pydantic
import pytest

from eventree import AggregateType, InvalidArgument, Ok


@dataclass(frozen=True)
class Counter:
    value: int = 0


@dataclass(frozen=True)
class Up:
    by: int


def handle(state: Counter, command: int) -> Any:
    return Ok([Up(command)])


def apply(state: Counter, event: Up) -> Counter:
    return state


def made(**functions: Any) -> AggregateType[Any, Any, Any, Any]:
    given = {"handle": handle, "apply": apply, "empty_state": Counter, "events": [Up], "state": [Counter]}
    return AggregateType("counter", **{**given, **functions})


async def later(*_: object) -> None:
    pass


def generating(*_: object) -> Iterator[int]:
    yield 1


class AsyncCall:
    async def __call__(self, *_: object) -> None:
        pass


class Needs:
    def __init__(self, value: int) -> None:
        pass


class NeedsModel(pydantic.BaseModel):
    value: int


class NeedsStruct(msgspec.Struct):
    value: int


def keyword_only(state: object, *, event: object = None) -> object:
    return state


WRONG: list[tuple[str, object, str]] = [
    ("handle", lambda s: Ok([]), "must take a state and a command, but it takes"),
    ("handle", lambda a, b, c: Ok([]), "missing a required argument: 'c'"),
    ("handle", 7, "must take a state and a command, got 7"),
    ("handle", later, "plain function"),
    ("handle", AsyncCall(), "plain function"),
    ("handle", partial(later, 1), "plain function"),
    ("handle", generating, "without yield"),
    ("apply", lambda s: s, "must take a state and an event, but it takes"),
    ("apply", lambda a, b, c: a, "must take a state and an event"),
    ("apply", keyword_only, "must take a state and an event"),
    ("apply", partial(apply, Counter()), "must take a state and an event"),
    ("apply", Counter().__eq__, "must take a state and an event"),
    ("apply", later, "plain function"),
    ("apply", generating, "without yield"),
    ("empty_state", lambda s: s, "must take nothing, but it takes"),
    ("empty_state", Needs, "must take nothing"),
    ("empty_state", NeedsModel, "must take nothing"),
    ("empty_state", NeedsStruct, "must take nothing"),
    ("empty_state", later, "plain function"),
    ("empty_state", generating, "without yield"),
    ("empty_state", Counter(), "must take nothing, got Counter"),
]


@pytest.mark.parametrize(("role", "function", "says"), WRONG, ids=range(len(WRONG)))
def test_a_function_that_cannot_work_is_refused_by_its_role(role: str, function: object, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        made(**{role: function})
    assert refused.value.name == role


def injecting(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(state: Any, event: Any) -> Any:
        return function(state, event, "a clock")

    return wrapper


@injecting
def with_clock(state: Any, event: Any, clock: str) -> Any:
    return state


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def passing_on_more(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, clock="a clock", **kwargs)

    return wrapper


class Methods:
    def decide(self, state: Counter, command: int) -> Any:
        return Ok([])

    def __call__(self, state: Counter, command: int, *more: int) -> Any:
        return state


RIGHT: list[tuple[str, object]] = [
    ("handle", passing_on(handle)),
    ("apply", passing_on_more(lambda s, e, *, clock: s)),
    ("handle", lambda *args: Ok([])),
    ("handle", Methods().decide),
    ("handle", Methods()),
    ("handle", Mock()),
    ("handle", partial(lambda clock, s, c: Ok([]), 1)),
    ("handle", lambda s, c, extra=1: Ok([])),
    ("handle", max),  # nobody knows its parameters
    ("apply", with_clock),
    ("apply", lambda s, e, /: s),
    ("empty_state", dict),
    ("empty_state", int),
    ("empty_state", lambda: None),
    ("empty_state", lambda *args, **kwargs: None),
    ("empty_state", partial(Needs, 1)),
]


def test_a_decorator_that_passes_its_arguments_on_hides_no_mistake() -> None:
    with pytest.raises(InvalidArgument, match="must take a state and a command"):
        made(handle=passing_on(lambda s: Ok([])))


@pytest.mark.parametrize(("role", "function"), RIGHT, ids=range(len(RIGHT)))
def test_a_function_that_may_work_is_taken(role: str, function: object) -> None:
    assert getattr(made(**{role: function}), role) is function
