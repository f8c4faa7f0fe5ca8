"""Read the annotations of functions: they tell which classes events and states have."""

import types
import typing
from collections.abc import Callable, Iterable
from inspect import Parameter, isroutine, signature
from types import NoneType
from typing import Any, Final

from eventree.errors import InvalidArgument
from eventree.errors.failures import is_failure

_ALSO_ACCEPTED: Final[dict[type, tuple[type, ...]]] = {
    float: (int,),
    complex: (float, int),
    bytes: (bytearray, memoryview),
}
"""Types that may be used where another one is declared, though they are no subclasses of it."""


class ApplyAnnotations:
    """Read the annotations of an `apply` function."""

    def __init__(self, apply: Callable[..., object]) -> None:
        """Create a reader for a function."""
        self._apply = apply

    def events(self) -> list[type]:
        """Return the event classes; raise `InvalidArgument` if the annotations do not name them."""
        return classes_of(self._annotation(1))

    def states(self) -> list[type]:
        """Return the state classes; raise `InvalidArgument` if the annotations do not name them."""
        return classes_of(self._annotation(0))

    def _annotation(self, index: int) -> object:
        try:
            names = names_of_parameters(self._apply)
        except ValueError as error:
            raise InvalidArgument("apply", "its parameters are unknown; pass a function written in Python") from error
        expected = 2
        if len(names) < expected:
            raise InvalidArgument("apply", "must take a state and an event")
        try:
            hints = hints_of(self._apply)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise InvalidArgument(
                "apply", f"its annotations cannot be resolved ({error}); give events=[...] and state=[...]"
            ) from error
        if names[index] not in hints:
            given = ("state", "events")[index]
            raise InvalidArgument(
                "apply", f"its parameter {names[index]!r} has no annotation; annotate it, or give {given}=[...]"
            )
        return hints[names[index]]


def command_classes(handle: Callable[..., object]) -> list[type]:
    """Return the command classes in the annotations of `handle`, as far as they can be resolved."""
    try:
        return classes_of(hints_of(handle)[names_of_parameters(handle)[1]])
    except BaseException as error:  # commands need no annotations, and any function may be given
        if not is_failure(error):
            raise
        return []


def names_of_parameters(function: Callable[..., object]) -> list[str]:
    """Return the names of the parameters that may be given by position; raise `ValueError` if they are unknown."""
    parameters = signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is not Parameter.KEYWORD_ONLY]


def hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """Return the annotations of a function by parameter, that of the result as `return`.

    Raises:
        Exception: One of them cannot be resolved.
    """
    return typing.get_type_hints(function if isroutine(function) else type(function).__call__)


def classes_of(annotation: object) -> list[type]:
    """Return the classes in a type annotation, each once; unions and aliases are expanded.

    Raises:
        InvalidArgument: A part of it is not a class.
    """
    value = getattr(annotation, "__value__", annotation)  # a PEP 695 alias
    origin = typing.get_origin(value)
    if value is not annotation:
        return classes_of(value)
    if origin is typing.Annotated:
        return classes_of(typing.get_args(value)[0])
    if origin is typing.Union or isinstance(value, types.UnionType):
        return list(dict.fromkeys(cls for member in typing.get_args(value) for cls in classes_of(member)))
    if not isinstance(value, type) or value in {object, typing.Any}:
        raise InvalidArgument("apply", f"its annotation {value!r} is not a class or a union of classes")
    return [value]


def accepted_by(annotation: object) -> tuple[type, ...] | None:
    """Return the classes of which a value must be an instance to match an annotation; None if that is not known.

    It is not known of a protocol, a TypeVar, Any and whatever else is no class: they may accept anything.
    """
    value = getattr(annotation, "__value__", annotation)
    if value is not annotation:
        return accepted_by(value)
    origin = typing.get_origin(value)
    if origin is typing.Annotated:
        return accepted_by(typing.get_args(value)[0])
    if origin is typing.Union or isinstance(value, types.UnionType):
        return _all_accepted(typing.get_args(value))
    cls = NoneType if value is None else origin if isinstance(origin, type) else value
    if not isinstance(cls, type) or cls is object or cls is Any or _is_structural(cls):
        return None
    return (cls, *_ALSO_ACCEPTED.get(cls, ()))


def _all_accepted(annotations: Iterable[object]) -> tuple[type, ...] | None:
    found: dict[type, None] = {}
    for annotation in annotations:
        classes = accepted_by(annotation)
        if classes is None:
            return None
        found.update(dict.fromkeys(classes))
    return tuple(found)


def _is_structural(cls: type) -> bool:
    """Return whether values match a class by what they have, rather than by what they are."""
    return getattr(cls, "_is_protocol", False) or is_typed_dict(cls)


def is_typed_dict(cls: type) -> bool:
    """Return whether a class is a `TypedDict`, be it of `typing` or of `typing_extensions`."""
    return hasattr(cls, "__required_keys__") and hasattr(cls, "__optional_keys__")
