"""Several values are carried beside each other, each under its own key."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eventree.instrumentation import Carried
from eventree.instrumentation.context import CARRIED, propagate

ONE: Carried[str] = Carried("one")
OTHER: Carried[int] = Carried("other")


def test_nothing_is_carried_at_first() -> None:
    assert CARRIED.get() is None
    assert ONE.get() is None


def test_values_are_carried_beside_each_other_until_their_end() -> None:
    with ONE.propagate("a"):
        outer = CARRIED.get()
        with OTHER.propagate(7), ONE.propagate("b"):
            assert (ONE.get(), OTHER.get()) == ("b", 7)
            assert (ONE.of(outer), OTHER.of(outer)) == ("a", None)
        assert CARRIED.get() is outer
        assert (ONE.get(), OTHER.get()) == ("a", None)
    assert CARRIED.get() is None


def test_it_is_over_however_it_ends() -> None:
    with pytest.raises(KeyError), ONE.propagate("a"):
        raise KeyError
    assert CARRIED.get() is None


def test_a_whole_context_takes_the_place_of_what_is_carried() -> None:
    with OTHER.propagate(7):
        other = CARRIED.get()
    with ONE.propagate("a"):
        with propagate(other):
            assert (ONE.get(), OTHER.get()) == (None, 7)
        with propagate(None):
            assert CARRIED.get() is None
        assert ONE.get() == "a"


def test_keys_of_the_same_name_are_two() -> None:
    same: Carried[str] = Carried("one")
    assert repr(same) == repr(ONE) == "Carried('one')"
    with ONE.propagate("a"), same.propagate("b"):
        assert (ONE.get(), same.get()) == ("a", "b")


def test_what_counts_is_what_is_carried_where_it_is_entered() -> None:
    @contextmanager
    def both() -> Iterator[None]:
        later = OTHER.propagate(7)
        with ONE.propagate("a"), later:
            yield

    with both():
        assert (ONE.get(), OTHER.get()) == ("a", 7)
