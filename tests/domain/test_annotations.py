"""Which values match an annotation: where that is not known, all do."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, runtime_checkable

import pytest
from typing_extensions import TypeAliasType, TypedDict as BackportedDict

from eventree.domain.annotations import accepted_by

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
Stateful = NewType("Stateful", int)


@dataclass
class Stock:
    count: int = 0


@dataclass
class Box(Generic[T]):
    content: T


class Light(Enum):
    RED = 1


class Shape(TypedDict):
    x: int


class Backported(BackportedDict):
    x: int


class Countable(Protocol):
    count: int


@runtime_checkable
class Sized(Protocol):
    def __len__(self) -> int: ...


Alias = TypeAliasType("Alias", Stock | None)

KNOWN: list[tuple[object, tuple[type, ...]]] = [
    (Stock, (Stock,)),
    (Stock | Light, (Stock, Light)),
    (Optional[Stock], (Stock, NoneType)),  # noqa: UP045
    (Alias, (Stock, NoneType)),
    (Annotated[Stock, "x"], (Stock,)),
    (None, (NoneType,)),
    (Box[int], (Box,)),
    (dict[str, int], (dict,)),
    (Mapping[str, int], (Mapping,)),
    (Decimal, (Decimal,)),
    (float, (float, int)),
]


@pytest.mark.parametrize(("annotation", "classes"), KNOWN)
def test_classes_are_known(annotation: object, classes: tuple[type, ...]) -> None:
    assert accepted_by(annotation) == classes


@pytest.mark.parametrize(
    "annotation",
    [Any, object, T, Bound, Stateful, Shape, Backported, Countable, Sized, Literal[1], Stock | Any, T | None, "Stock"],
)
def test_what_may_be_anything_is_not_known(annotation: object) -> None:
    assert accepted_by(annotation) is None
