"""Check the functions that users give: they must take the arguments that they will be called with."""

from collections.abc import Callable
from inspect import (
    Parameter,
    isasyncgenfunction,
    iscoroutinefunction,
    isgeneratorfunction,
    isroutine,
    signature,
    unwrap,
)
from typing import Any, cast

from eventree.errors import InvalidArgument


def check_callable(role: str, function: object, *parameters: str, shape: str = "") -> None:
    """Raise `InvalidArgument` unless a function takes these parameters by position.

    Args:
        role: The name of the argument.
        function: The function.
        parameters: The names of its parameters.
        shape: What it must be, for the error; default "must be a function of" the parameters.
    """
    shape = shape or f"must be a function of ({', '.join(parameters)})"
    if not callable(function):
        raise InvalidArgument(role, f"{shape}, got {function!r}")
    if isasyncgenfunction(function) or isgeneratorfunction(function):
        raise InvalidArgument(role, f"{shape} without yield: calling a generator does not run it")
    try:
        found, inner = signature(function, follow_wrapped=False), signature(function)
    except (ValueError, TypeError):  # some builtin functions have none
        return
    try:
        found.bind(*parameters)
        if any(each.kind is Parameter.VAR_POSITIONAL for each in found.parameters.values()):
            found = inner  # of the function that a decorator passes them on to, perhaps with others of its own
            found.bind_partial(*parameters)
    except TypeError as error:
        raise InvalidArgument(role, f"{shape}, but it takes {found}: {error}") from None


def check_plain(role: str, function: object, *parameters: str, shape: str = "") -> None:
    """Raise `InvalidArgument` unless a function is plain, not async, and takes these parameters by position."""
    check_callable(role, function, *parameters, shape=shape)
    if iscoroutinefunction(function) or iscoroutinefunction(_called(function)):
        raise InvalidArgument(role, "must be a plain function, not async: it does no I/O")


def check_async(role: str, function: object, *parameters: str) -> None:
    """Raise `InvalidArgument` unless a function is async and takes these parameters by position."""
    check_callable(role, function, *parameters)
    plain = getattr(function, "func", _called(function))
    if not iscoroutinefunction(unwrap(plain)) and not iscoroutinefunction(function):
        raise InvalidArgument(role, "must be declared with `async def`, to await the connection's methods")


def _called(function: object) -> Callable[..., object]:
    """Return the function that is run when a callable is called: itself, or the method of an object."""
    kind: Any = function if isinstance(function, type) else type(function)
    return cast("Callable[..., object]", function) if isroutine(function) or kind is function else kind.__call__
