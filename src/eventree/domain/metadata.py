"""Encode metadata as a JSON object of strings, and decode it."""

from collections.abc import Mapping
from typing import Final

import msgspec

from eventree.domain.limits import MAX_METADATA_BYTES
from eventree.errors import InvalidArgument

CORRELATION_ID: Final = "correlation_id"
CAUSATION_ID: Final = "causation_id"

_decode = msgspec.json.Decoder(dict[str, str]).decode


def encode_metadata(metadata: Mapping[str, str]) -> str:
    """Return metadata as JSON text.

    Raises:
        InvalidArgument: It contains lone surrogates or is larger than 64 KiB.
    """
    if not metadata:
        return "{}"
    try:
        encoded = msgspec.json.encode(dict(metadata))
    except ValueError as error:
        raise InvalidArgument("metadata", "must not contain lone surrogates") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise InvalidArgument("metadata", f"must be at most {MAX_METADATA_BYTES} bytes of JSON, got {len(encoded)}")
    return encoded.decode()


def decode_metadata(text: str) -> dict[str, str]:
    """Return the metadata of a JSON text."""
    return {} if text == "{}" else _decode(text)
