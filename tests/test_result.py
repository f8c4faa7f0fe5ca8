"""`Ok` and `Err`: what a caller can do with an answer."""

from dataclasses import FrozenInstanceError

import pytest

from bank import BankError
from eventree import DomainError, EntityNotFound, Err, Ok, Result


def describe(result: Result[int, str]) -> str:
    match result:
        case Ok(value):
            return f"ok {value}"
        case Err(error):
            return f"err {error}"


def test_ok_and_err_match_by_position() -> None:
    assert describe(Ok(1)) == "ok 1"
    assert describe(Err("no")) == "err no"


def test_unwrap_of_ok_returns_the_value() -> None:
    assert Ok([1, 2]).unwrap() == [1, 2]


def test_unwrap_of_err_raises_the_error_itself() -> None:
    error = EntityNotFound("bank-account", "a")
    with pytest.raises(EntityNotFound) as raised:
        Err(error).unwrap()
    assert raised.value is error


def test_unwrap_of_a_plain_reason_raises_it_as_a_domain_error() -> None:
    with pytest.raises(DomainError) as raised:
        Err(BankError.OVERDRAFT).unwrap()
    assert raised.value.reason is BankError.OVERDRAFT


def test_results_compare_by_what_they_hold() -> None:
    assert Ok(1) == Ok(1)
    assert Ok(1) != Ok(2)
    assert Err(DomainError("no")) == Err(DomainError("no"))
    different: set[Result[int, int]] = {Ok(1), Ok(1), Err(1)}
    assert len(different) == 2


@pytest.mark.parametrize("result", [Ok(1), Err(1)])
def test_results_cannot_be_changed(result: Result[int, int]) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(result, "value" if isinstance(result, Ok) else "error", 2)


def test_a_false_value_is_still_ok() -> None:
    assert Ok(None).unwrap() is None
    assert describe(Ok(0)) == "ok 0"
