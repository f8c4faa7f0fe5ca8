"""What can be asked of a query survives the way through the store."""

from uuid import uuid4

import pytest

from eventree import InvalidArgument
from eventree.sourcing.queries.controls import (
    Control,
    DropParked,
    Pause,
    Reset,
    Resume,
    RetriedParked,
    RetryParked,
    SkipCommit,
    control_of,
    request_of,
)
from eventree.stores.contract import QueryRequest

CONTROLS: list[Control] = [
    Pause(),
    Resume(),
    SkipCommit(2**63 - 1),
    Reset(),
    RetryParked(None),
    RetryParked("é" * 127),
    DropParked(7),
]


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_a_control_comes_back_from_its_request(control: Control) -> None:
    request = request_of(control, "q", 3)
    assert (request.name, request.version) == ("q", 3)
    assert control_of(request) == control
    assert request_of(control, "q", 3).id != request.id


@pytest.mark.parametrize(("action", "argument"), [("fly", ""), ("skip", ""), ("drop_parked", "x")])
def test_what_this_code_does_not_know_is_refused(action: str, argument: str) -> None:
    with pytest.raises(InvalidArgument, match="action"):
        control_of(QueryRequest(uuid4(), "q", 1, action, argument))


def test_the_result_of_a_retry_is_a_number_with_a_reason() -> None:
    assert (RetriedParked(2), RetriedParked(2).reason, RetriedParked(0, "no").reason) == (2, "", "no")
    assert repr(RetriedParked(0, "no")) == "RetriedParked(0, reason='no')"
