"""Every generic value can be made with its types given, is frozen, and has slots, on each version of Python."""

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

import eventree
from eventree import Ok

GENERIC = [
    value
    for value in vars(eventree).values()
    if inspect.isclass(value) and dataclasses.is_dataclass(value) and vars(value).get("__parameters__")
]


def test_there_are_some() -> None:
    assert Ok in GENERIC
    assert len(GENERIC) >= 7


@pytest.mark.parametrize("value", GENERIC, ids=lambda value: value.__name__)
def test_a_generic_value_can_be_made_with_its_types_given(value: Any) -> None:
    given: dict[str, Any] = {field.name: None for field in dataclasses.fields(value)}
    if value is eventree.ChildSpec:
        given = {"id": "a", "start": eventree.Supervisor}
    made = value[(int,) * len(value.__parameters__)](**given)
    assert made == value(**given)
    assert not hasattr(made, "__dict__")
    name = next(iter(given))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(made, name)


def test_a_value_is_copied_and_pickled_as_ever() -> None:
    value = Ok[list[int]]([1])
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes
