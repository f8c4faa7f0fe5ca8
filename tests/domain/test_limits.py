"""Ids and metadata are checked before anything happens, the same for all stores."""

from collections import UserDict
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from eventree import InvalidArgument
from eventree.domain.limits import check_command_id, check_id, check_metadata, check_text


@pytest.mark.parametrize("id", ["a", "a" * 255, "ä" * 127, "🌳" * 63, " ", "a\n", "../x", "\x7f"])
def test_an_id_of_1_to_255_bytes_is_returned_as_it_is(id: str) -> None:
    assert check_id("aggregate_id", id) == id


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("", "empty"),
        ("a" * 256, "at most 255 bytes of UTF-8, got 256"),
        ("ä" * 128, "got 256"),
        ("🌳" * 64, "got 256"),
        ("a\0b", "NUL"),
        ("\ud800", "lone surrogates"),
        ("a\udfff" * 200, "lone surrogates"),
        (7, "must be a str, got int"),
        (b"a", "got bytes"),
        (None, "got NoneType"),
    ],
)
def test_an_id_that_no_store_can_keep_is_refused(id: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as refused:
        check_id("aggregate_id", id)
    assert refused.value.name == "aggregate_id"


@given(st.text(st.characters(), max_size=300))
def test_an_id_is_accepted_exactly_if_it_fits(id: str) -> None:
    size = len(id.encode(errors="surrogatepass"))
    fits = 0 < size <= 255 and "\0" not in id and not any("\ud800" <= letter <= "\udfff" for letter in id)
    try:
        accepted = check_id("id", id) == id
    except InvalidArgument:
        accepted = False
    assert accepted is fits


def test_a_text_is_measured_in_bytes() -> None:
    check_text("name", "ää", 4)
    with pytest.raises(InvalidArgument, match="at most 3 bytes of UTF-8, got 4"):
        check_text("name", "ää", 3)


def test_a_command_id_may_be_a_uuid_or_missing() -> None:
    key = UUID(int=7)
    assert check_command_id(key) == str(key)
    assert check_command_id("retry-1") == "retry-1"
    assert check_command_id(None) is None


@pytest.mark.parametrize("command_id", ["", "a\0", "a" * 256, 7])
def test_a_command_id_is_held_to_the_rules_of_ids(command_id: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_command_id(command_id)
    assert refused.value.name == "command_id"


def test_metadata_is_any_mapping_of_texts() -> None:
    assert check_metadata(None) == {}
    assert check_metadata({"a": "b"}) == {"a": "b"}
    assert dict(check_metadata(UserDict(a="b"))) == {"a": "b"}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": 1}, "got str to int"),
        ({1: "a"}, "got int to str"),
        ({"a": None}, "got str to NoneType"),
        ([("a", "b")], "got list"),
        ("ab", "got str"),
    ],
)
def test_metadata_that_is_not_text_to_text_is_refused(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as refused:
        check_metadata(metadata)
    assert refused.value.name == "metadata"
