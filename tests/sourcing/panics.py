"""Exceptions that `except Exception` misses, though they are no wish to leave: bugs like any other."""

from collections.abc import Callable
from typing import Never

import pytest


class Panic(BaseException):
    """What a panic in Rust looks like in Python."""


class Speechless(Panic):
    """Panic even when it is shown."""

    def __str__(self) -> str:
        raise Panic("in __str__")


class Touchy(Panic):
    """Panic when an attribute is looked up that it has not, as a log does."""

    def __getattr__(self, name: str) -> object:
        raise Panic(name)


class Undecided(ValueError):
    """Panic when asked whether it is true, as a traceback does."""

    def __bool__(self) -> bool:
        raise Panic("in __bool__")


class Secretive(BaseExceptionGroup[BaseException]):
    """A group that does not show its errors."""

    exceptions = None  # type: ignore[assignment]


def group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors)])


def failed() -> BaseException:
    """Return what `pytest.fail` raises."""
    try:
        pytest.fail("in a handler")
    except BaseException as error:  # noqa: BLE001 - it is to be raised elsewhere
        return error


MAKERS: dict[str, Callable[[], BaseException]] = {
    "boom": lambda: ValueError("x"),
    "subclass": lambda: Panic("x"),
    "speechless": Speechless,
    "touchy": Touchy,
    "undecided": lambda: Undecided("x"),
    "secretive": lambda: Secretive("x", [Panic("y")]),
    "plain": lambda: BaseException("x"),
    "group": lambda: group(Panic("x"), ValueError("y")),
    "pytest": failed,
}

panics = pytest.mark.parametrize("panic", MAKERS.values(), ids=MAKERS.keys())
"""Panics of any function, plain or async."""

plain_panics = pytest.mark.parametrize(
    "panic",
    [*MAKERS.values(), lambda: GeneratorExit("x"), lambda: group(GeneratorExit("x"))],
    ids=[*MAKERS, "generator_exit", "group_of_generator_exit"],
)
"""Panics of a plain function: in a coroutine, a GeneratorExit may be the loop that closes it."""

WISHES: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "group": lambda: group(Panic("x"), SystemExit(3)),
}

wishes = pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES.keys())


def throw(error: BaseException) -> Never:
    raise error
