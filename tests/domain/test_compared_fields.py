"""Which fields tell a command from another one, and which may differ each time that it is built."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from eventree.domain.compared_fields import compared_fields
from eventree.domain.fingerprints import CommandFingerprints


def new_id() -> str:
    return uuid4().hex


class NewId(str):
    """A text that differs each time, although a class makes it."""

    __slots__ = ()

    def __new__(cls) -> Self:
        return super().__new__(cls, new_id())


@dataclass
class NoParameter:
    n: int
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = new_id()


@dataclass
class SetByHook:
    n: int
    id: str = ""

    def __post_init__(self) -> None:
        self.id = self.id or new_id()


@dataclass
class MadeByClass:
    n: int
    id: str = field(default_factory=NewId)


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    n: int
    id: str = pydantic.Field(default_factory=new_id)


@pydantic.dataclasses.dataclass
class PydanticNoParameter:
    n: int
    id: str = pydantic.Field(init=False, default_factory=new_id)


class Validated(pydantic.BaseModel):
    n: int
    id: str = ""

    @pydantic.model_validator(mode="after")
    def _give_id(self) -> "Validated":
        self.id = self.id or new_id()
        return self


class AfterInit(pydantic.BaseModel):
    n: int
    id: str = ""

    def model_post_init(self, context: Any, /) -> None:
        self.id = self.id or new_id()


@attrs.define
class AttrsNoParameter:
    n: int
    id: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.id = new_id()


@attrs.define
class AttrsSetByHook:
    n: int
    id: str = ""

    def __attrs_post_init__(self) -> None:
        self.id = self.id or new_id()


class StructSetByHook(msgspec.Struct):
    n: int
    id: str = ""

    def __post_init__(self) -> None:
        self.id = self.id or new_id()


@dataclass
class Inner:
    n: int
    id: str = field(default_factory=new_id)


@dataclass
class Outer:
    n: int
    inner: Inner = field(default_factory=lambda: Inner(1))


@pytest.mark.parametrize(
    "make",
    [
        NoParameter,
        SetByHook,
        MadeByClass,
        PydanticDataclass,
        PydanticNoParameter,
        lambda n: Validated(n=n),
        lambda n: AfterInit(n=n),
        AttrsNoParameter,
        AttrsSetByHook,
        StructSetByHook,
        Outer,
    ],
)
def test_a_field_that_is_made_anew_each_time_is_not_compared(make: Callable[[int], Any]) -> None:
    prints = CommandFingerprints()
    assert [name for name, _ in compared_fields(type(make(1)))] == ["n"]
    assert make(1) != make(1)
    assert prints.of(make(1)) == prints.of(make(1))
    assert prints.is_other_command(prints.of(make(1)), prints.of(make(2)))


@attrs.define
class AnyCase:
    name: str = attrs.field(eq=str.lower)


def test_a_field_is_compared_by_the_key_of_its_class() -> None:
    prints = CommandFingerprints()
    assert AnyCase("A") == AnyCase("a")
    assert prints.of(AnyCase("A")) == prints.of(AnyCase("a"))
    assert prints.is_other_command(prints.of(AnyCase("A")), prints.of(AnyCase("b")))


@dataclass
class OwnEquality:
    n: int
    note: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnEquality) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


@dataclass
class HoldsOwnEquality:
    inner: OwnEquality


@pytest.mark.parametrize("command", [OwnEquality(1), HoldsOwnEquality(OwnEquality(1))])
def test_a_class_that_compares_its_objects_in_its_own_way_has_no_fingerprint(command: object) -> None:
    assert CommandFingerprints().of(command) is None


@dataclass
class PlainDefaults:
    tags: list[str] = field(default_factory=list[str])
    notes: dict[str, str] = field(default_factory=dict)
    count: int = 0
    inner: Inner | None = None


class StructDefaults(msgspec.Struct):
    tags: list[str] = []
    count: int = 0


class ModelDefaults(pydantic.BaseModel):
    tags: list[str] = pydantic.Field(default_factory=list)
    count: int = 0
    _cache: dict[str, str] = pydantic.PrivateAttr(default_factory=dict)


@attrs.define
class AttrsDefaults:
    tags: list[str] = attrs.Factory(list)
    count: int = 0


@pytest.mark.parametrize("make", [PlainDefaults, StructDefaults, ModelDefaults, AttrsDefaults])
def test_a_field_with_a_plain_default_is_compared(make: Callable[..., Any]) -> None:
    prints = CommandFingerprints()
    assert prints.is_other_command(prints.of(make()), prints.of(make(count=1)))
    assert prints.is_other_command(prints.of(make()), prints.of(make(tags=["a"])))
