"""Whether a function can be called as it will be: found out when it is given, not when the first event comes."""

from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, isroutine, signature, unwrap

from eventree.errors import InvalidArgument


def check_callable(role: str, function: object, *parameters: str) -> None:
    """Raise `InvalidArgument` unless a function takes these parameters by position."""
    shape = f"must be a function of ({', '.join(parameters)})"
    if not callable(function):
        raise InvalidArgument(role, f"{shape}, got {function!r}")
    if isasyncgenfunction(function) or isgeneratorfunction(function):
        raise InvalidArgument(role, f"{shape} without yield, which would not run it")
    try:
        found = signature(function)
    except ValueError:  # some builtin functions have none
        return
    try:
        found.bind(*parameters)
    except TypeError as error:
        raise InvalidArgument(role, f"{shape}, but it takes {found}: {error}") from None


def check_async(role: str, function: object, *parameters: str) -> None:
    """Raise `InvalidArgument` unless a function is async and takes these parameters by position."""
    check_callable(role, function, *parameters)
    plain = function if isroutine(function) else getattr(function, "func", type(function).__call__)
    if not iscoroutinefunction(unwrap(plain)) and not iscoroutinefunction(function):
        raise InvalidArgument(role, "must be declared with `async def`: what it does on the connection is awaited")
