"""Read the event and state classes from type annotations."""

import types
import typing
from collections.abc import Callable
from inspect import Parameter, isroutine, signature

from eventree.errors import InvalidArgument


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
        function = self._apply if isroutine(self._apply) else type(self._apply).__call__
        try:
            every = signature(self._apply).parameters.values()
        except ValueError as error:
            raise InvalidArgument("apply", "its parameters are unknown; pass a function written in Python") from error
        parameters = [parameter for parameter in every if parameter.kind is not Parameter.KEYWORD_ONLY]
        expected = 2
        if len(parameters) < expected:
            raise InvalidArgument("apply", "must take a state and an event")
        try:
            hints = typing.get_type_hints(function)
        except Exception as error:
            raise InvalidArgument(
                "apply", f"its annotations cannot be resolved ({error}); give events=[...] and state=[...]"
            ) from error
        if parameters[index].name not in hints:
            given = ("state", "events")[index]
            raise InvalidArgument(
                "apply",
                f"its parameter {parameters[index].name!r} has no annotation; annotate it, or give {given}=[...]",
            )
        return hints[parameters[index].name]


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
