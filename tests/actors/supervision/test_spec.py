"""What the specification of a child refuses."""

import math

import pytest

from eventree import Actor, ChildSpec, InvalidArgument
from eventree.errors import NonPositiveArgument


def test_a_child_is_described_by_a_factory_not_by_an_actor() -> None:
    with pytest.raises(InvalidArgument, match="start: must be a function that returns a new actor"):
        ChildSpec(id="a", start=Actor[str, str]())  # type: ignore[arg-type]


def test_a_child_is_described_by_a_factory_not_by_a_coroutine() -> None:
    async def make() -> Actor[str, str]:
        return Actor()

    coroutine = make()
    with pytest.raises(InvalidArgument, match="start: must be a function"):
        ChildSpec(id="a", start=coroutine)  # type: ignore[arg-type]
    coroutine.close()


@pytest.mark.parametrize("shutdown", [-0.1, -math.inf, math.nan])
def test_a_child_cannot_stop_in_less_than_no_time(shutdown: float) -> None:
    with pytest.raises(InvalidArgument, match="shutdown"):
        ChildSpec(id="a", start=Actor[str, str], shutdown=shutdown)


@pytest.mark.parametrize("start_timeout", [0, -1.0, math.nan])
def test_a_child_needs_time_to_start(start_timeout: float) -> None:
    with pytest.raises(NonPositiveArgument, match="start_timeout"):
        ChildSpec(id="a", start=Actor[str, str], start_timeout=start_timeout)


def test_a_child_needs_an_id_that_can_be_a_key() -> None:
    with pytest.raises(InvalidArgument, match="id: must be hashable, got list"):
        ChildSpec(id=["a"], start=Actor[str, str])  # type: ignore[arg-type]
