"""Metadata comes back equal, within its limits."""

import pytest
from hypothesis import given, strategies as st

from eventree import InvalidArgument
from eventree.domain.limits import MAX_METADATA_BYTES
from eventree.domain.metadata import decode_metadata, encode_metadata

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(texts, texts))
def test_metadata_comes_back_equal(metadata: dict[str, str]) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


def test_metadata_may_hold_nul_but_no_lone_surrogates() -> None:
    assert decode_metadata(encode_metadata({"a\0": "\0"})) == {"a\0": "\0"}
    with pytest.raises(InvalidArgument, match="surrogates"):
        encode_metadata({"a": "\udfff"})


def test_metadata_has_at_most_64_kib_of_json() -> None:
    room = MAX_METADATA_BYTES - len('{"a":""}')
    assert len(encode_metadata({"a": "x" * room})) == MAX_METADATA_BYTES
    with pytest.raises(InvalidArgument, match="at most 65536"):
        encode_metadata({"a": "x" * (room + 1)})
