"""Promises about limits: which values are stored, and which are refused before anything is stored."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta, timezone
from typing import cast
from uuid import UUID

import pytest

from eventree.errors import InvalidArgument
from eventree.stores.contract import (
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    Conflict,
    EventStore,
    LeaseRequest,
    NewCommand,
    ParkedCommit,
    RecordedCommand,
    RequestAnswer,
    StoredSnapshot,
    StoredStop,
    StreamRead,
)
from eventree.testing.store_values import (
    NOON,
    TYPE,
    append,
    event,
    failure,
    log,
    parked,
    query_request,
    request,
    snapshot,
    stream,
)

LONGEST = "é" * 127 + "x"
"""The longest valid id, of 255 bytes."""

PAYLOADS = {"ASCII": '"' + "x" * (2**20 - 2) + '"', "UTF-8": '"' + "é" * (2**19 - 1) + '"'}
METADATA = {"ASCII": '{"k":"' + "x" * (2**16 - 8) + '"}', "UTF-8": '{"k":"' + "é" * (2**15 - 4) + '"}'}
"""The longest valid payloads and metadata."""

INVALID_IDS = {
    "empty": "",
    "256 bytes": "x" * 256,
    "256 bytes of UTF-8": "é" * 128,
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800",
}
INVALID_PAYLOADS = {
    "1 MiB and a byte": " " + PAYLOADS["ASCII"],
    "1 MiB and a byte of UTF-8": " " + PAYLOADS["UTF-8"],
    "NUL": '"a\0b"',
    "a lone surrogate": '"\ud800"',
}
INVALID_METADATA = {
    **INVALID_PAYLOADS,
    "64 KiB and a byte": " " + METADATA["ASCII"],
    "of UTF-8": " " + METADATA["UTF-8"],
}

INVALID_TEXTS: dict[str, tuple[dict[str, str], Callable[[str], AppendRequest]]] = {
    "aggregate_type": (INVALID_IDS, lambda text: request("a", type=text)),
    "aggregate_id": (INVALID_IDS, request),
    "command_id": (INVALID_IDS, lambda text: request("a", commands=["c", text])),
    "event_type": (INVALID_IDS, lambda text: AppendRequest(TYPE, "a", 0, [event(), event(event_type=text)])),
    "payload": (INVALID_PAYLOADS, lambda text: AppendRequest(TYPE, "a", 0, [event(), event(text)])),
    "metadata": (INVALID_METADATA, lambda text: AppendRequest(TYPE, "a", 0, [event(), event(metadata=text)])),
}


def _with_command(first: int, last: int) -> AppendRequest:
    return replace(request("a", after=3, events=2), commands=[NewCommand("c", first, last)])


INCONSISTENT_REQUESTS: dict[str, tuple[str, AppendRequest]] = {
    "an event of version 0": ("event_version", AppendRequest(TYPE, "a", 0, [event(event_version=0)])),
    "an event of version 2**31": ("event_version", AppendRequest(TYPE, "a", 0, [event(event_version=2**31)])),
    "a commit id that is text": ("commit_id", AppendRequest(TYPE, "a", 0, [event(commit_id=cast("UUID", "c"))])),
    "a sequence below 0": ("expected_sequence", AppendRequest(TYPE, "a", -1, [event()])),
    "a sequence of 2**63": ("expected_sequence", AppendRequest(TYPE, "a", 2**63, [event()])),
    "a command before its request": ("first_sequence", _with_command(3, 4)),
    "a command after its request": ("first_sequence", _with_command(7, 6)),
    "a command that ends after its request": ("last_sequence", _with_command(4, 6)),
    "a command that ends before it begins": ("last_sequence", _with_command(5, 3)),
    "a command id twice": ("commands", request("a", commands=["c", "d", "c"])),
    "an aggregate twice": ("requests", request("good")),
}


async def _park(store: EventStore, *commits: ParkedCommit) -> None:
    await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, 1), park=commits))


ID_ARGUMENTS: dict[str, tuple[str, Callable[[EventStore, str], Awaitable[object]]]] = {
    "find_commands": ("command_id", lambda store, text: store.find_commands(["c", text])),
    "read_streams of a type": ("aggregate_type", lambda store, text: store.read_streams([StreamRead(text, "a")])),
    "read_streams": ("aggregate_id", lambda store, text: store.read_streams([StreamRead(TYPE, text)])),
    "read": ("types", lambda store, text: store.read(0, 10, [TYPE, text])),
    "read of an event type": ("event_types", lambda store, text: store.read(0, 10, None, ["e", text])),
    "read_backwards": ("types", lambda store, text: store.read_backwards(None, 10, [text])),
    "read_backwards of an event type": (
        "event_types",
        lambda store, text: store.read_backwards(None, 10, None, [text]),
    ),
    "list_aggregates": ("aggregate_type", lambda store, text: store.list_aggregates(text)),
    "list_aggregates after a type": ("after", lambda store, text: store.list_aggregates(after=(text, "a"))),
    "list_aggregates after an id": ("after", lambda store, text: store.list_aggregates(after=(TYPE, text))),
    "claim_checkpoint": ("name", lambda store, text: store.claim_checkpoint(text, 1)),
    "save_checkpoint": ("name", lambda store, text: store.save_checkpoint(text, 1, CheckpointUpdate(Checkpoint(0, 1)))),
    "claim_checkpoint of an owner": (
        "owner",
        lambda store, text: store.claim_checkpoint("query", 1, LeaseRequest(text)),
    ),
    "renew_checkpoint": ("name", lambda store, text: store.renew_checkpoint(text, 1, 1, 0)),
    "load_checkpoint": ("name", lambda store, text: store.load_checkpoint(text, 1)),
    "load_parked": ("name", lambda store, text: store.load_parked(text, 1)),
    "stop_checkpoint": (
        "name",
        lambda store, text: store.stop_checkpoint(text, 1, "worker", StoredStop("stopped", "")),
    ),
    "stop_checkpoint of an owner": (
        "owner",
        lambda store, text: store.stop_checkpoint("query", 1, text, StoredStop("stopped", "")),
    ),
    "put_request": ("name", lambda store, text: store.put_request(query_request(name=text))),
    "put_request of an action": ("action", lambda store, text: store.put_request(query_request(text))),
    "load_requests": ("name", lambda store, text: store.load_requests(text, 1)),
    "parking of a type": ("aggregate_type", lambda store, text: _park(store, parked("a", 1, type=text))),
    "parking": ("aggregate_id", lambda store, text: _park(store, parked(text, 1))),
    "save_snapshots of a type": (
        "aggregate_type",
        lambda store, text: store.save_snapshots([snapshot("a", 1, type=text)]),
    ),
    "save_snapshots": ("aggregate_id", lambda store, text: store.save_snapshots([snapshot(text, 1)])),
    "save_snapshots of a version": (
        "state_version",
        lambda store, text: store.save_snapshots([snapshot("a", 1, version=text)]),
    ),
    "save_snapshots of a state": (
        "state_type",
        lambda store, text: store.save_snapshots([snapshot("a", 1, state_type=text)]),
    ),
    "load_snapshots of a type": ("aggregate_type", lambda store, text: store.load_snapshots(text, ["a"], "v1")),
    "load_snapshots": ("aggregate_id", lambda store, text: store.load_snapshots(TYPE, ["a", text], "v1")),
    "load_snapshots of a version": ("state_version", lambda store, text: store.load_snapshots(TYPE, ["a"], text)),
}

NUMBER_ARGUMENTS: dict[str, tuple[str, int, int, Callable[[EventStore, int], Awaitable[object]]]] = {
    "a position to read after": ("after", 0, 2**63 - 1, lambda store, number: store.read(number, 10)),
    "a limit of a page": ("limit", 1, 2**31 - 1, lambda store, number: store.read(0, number)),
    "a position to read before": ("before", 1, 2**63 - 1, lambda store, number: store.read_backwards(number, 10)),
    "a limit of a page read backwards": (
        "limit",
        1,
        2**31 - 1,
        lambda store, number: store.read_backwards(None, number),
    ),
    "a limit of a list": ("limit", 1, 2**31 - 1, lambda store, number: store.list_aggregates(limit=number)),
    "a sequence to read up to": (
        "up_to",
        0,
        2**63 - 1,
        lambda store, number: store.read_streams([StreamRead(TYPE, "a", up_to=number)]),
    ),
    "a position to read up to": (
        "up_to_position",
        0,
        2**63 - 1,
        lambda store, number: store.read_streams([StreamRead(TYPE, "a", up_to_position=number)]),
    ),
    "a sequence to read after": ("after", 0, 2**63 - 1, lambda store, number: stream(store, "a", after=number)),
    "a limit of a stream": ("limit", 0, 2**31 - 1, lambda store, number: stream(store, "a", limit=number)),
    "a version to claim": ("version", 1, 2**31 - 1, lambda store, number: store.claim_checkpoint("query", number)),
    "a version to save": (
        "version",
        1,
        2**31 - 1,
        lambda store, number: store.save_checkpoint("query", number, CheckpointUpdate(Checkpoint(0, 1))),
    ),
    "a position to save": (
        "position",
        0,
        2**63 - 1,
        lambda store, number: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(number, 1))),
    ),
    "a fencing token": (
        "fencing_token",
        0,
        2**63 - 1,
        lambda store, number: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, number))),
    ),
    "a position to begin at": (
        "start",
        0,
        2**63 - 1,
        lambda store, number: store.claim_checkpoint("query", 1, LeaseRequest(start=number)),
    ),
    "a position to park": (
        "position",
        1,
        2**63 - 1,
        lambda store, number: _park(store, parked("a", number, max(number, 1))),
    ),
    "a position to forget": (
        "unpark",
        1,
        2**63 - 1,
        lambda store, number: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, 1), unpark=[number])),
    ),
    "a number of skipped commits": (
        "skipped",
        0,
        2**31 - 1,
        lambda store, number: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, 1), skipped=number)),
    ),
    "a fencing token to renew": (
        "fencing_token",
        0,
        2**63 - 1,
        lambda store, number: store.renew_checkpoint("query", 1, number, 0),
    ),
    "a number of attempts": (
        "attempts",
        1,
        2**31 - 1,
        lambda store, number: store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(0, 1), failure=failure(1, number))
        ),
    ),
    "a position of a failure": (
        "position",
        1,
        2**63 - 1,
        lambda store, number: store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(0, 1), failure=failure(number))
        ),
    ),
    "a result of a request": (
        "result",
        0,
        2**63 - 1,
        lambda store, number: store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(0, 1), answers=[RequestAnswer(UUID(int=1), number)])
        ),
    ),
    "a version to ask": (
        "version",
        1,
        2**31 - 1,
        lambda store, number: store.put_request(query_request(version=number)),
    ),
    "a version to load": ("version", 1, 2**31 - 1, lambda store, number: store.load_checkpoint("query", number)),
    "a position of parked commits": (
        "after",
        0,
        2**63 - 1,
        lambda store, number: store.load_parked("query", 1, after=number),
    ),
    "a limit of parked commits": (
        "limit",
        1,
        2**31 - 1,
        lambda store, number: store.load_parked("query", 1, limit=number),
    ),
    "a sequence of a snapshot": (
        "sequence",
        1,
        2**63 - 1,
        lambda store, number: store.save_snapshots([snapshot("a", number)]),
    ),
    "a checksum of a snapshot": (
        "checksum",
        0,
        2**32 - 1,
        lambda store, number: store.save_snapshots([snapshot("a", 1, checksum=number)]),
    ),
}


async def assert_refused(store: EventStore, name: str, refused: AppendRequest) -> None:
    """Assert that a request is refused for this argument, and with it all other requests of the call."""
    with pytest.raises(InvalidArgument) as caught:
        await append(store, request("good", commands=["good"]), refused)
    assert caught.value.name == name
    assert await store.head() == 0
    assert await store.find_commands(["good"]) == {}


class LimitPromises:
    """All stores have the same limits: a value at a limit is accepted, one beyond it raises `InvalidArgument`."""

    @pytest.mark.parametrize("text", INVALID_TEXTS)
    async def test_invalid_texts_are_refused_before_anything_is_stored(self, store: EventStore, text: str) -> None:
        texts, make = INVALID_TEXTS[text]
        for refused in texts.values():
            await assert_refused(store, text, make(refused))

    @pytest.mark.parametrize("number", INCONSISTENT_REQUESTS)
    async def test_inconsistent_requests_are_refused_before_anything_is_stored(
        self, store: EventStore, number: str
    ) -> None:
        name, refused = INCONSISTENT_REQUESTS[number]
        await assert_refused(store, name, refused)

    @pytest.mark.parametrize("operation", ID_ARGUMENTS)
    @pytest.mark.parametrize("id", INVALID_IDS)
    async def test_invalid_ids_are_refused_by_every_operation(self, store: EventStore, operation: str, id: str) -> None:
        name, ask = ID_ARGUMENTS[operation]
        await append(store, request("a"))
        with pytest.raises(InvalidArgument) as caught:
            await ask(store, INVALID_IDS[id])
        assert caught.value.name == name

    @pytest.mark.parametrize("number", NUMBER_ARGUMENTS)
    async def test_numbers_beyond_the_limits_are_refused(self, store: EventStore, number: str) -> None:
        name, lowest, highest, ask = NUMBER_ARGUMENTS[number]
        for beyond in (lowest - 1, highest + 1):
            with pytest.raises(InvalidArgument) as caught:
                await ask(store, beyond)
            assert caught.value.name == name

    @pytest.mark.parametrize("payload", INVALID_PAYLOADS)
    async def test_snapshots_beyond_the_limits_are_refused(self, store: EventStore, payload: str) -> None:
        await append(store, request("a"))
        with pytest.raises(InvalidArgument) as caught:
            await store.save_snapshots([snapshot("a", 1), snapshot("a", 1, payload=INVALID_PAYLOADS[payload])])
        assert caught.value.name == "payload"
        assert await store.load_snapshots(TYPE, ["a"], "v1") == {}

    @pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=5))])
    async def test_the_time_of_a_snapshot_must_be_utc(self, store: EventStore, zone: timezone | None) -> None:
        with pytest.raises(InvalidArgument, match="taken_at"):
            await store.save_snapshots([snapshot("a", 1, taken_at=NOON.replace(tzinfo=zone))])

    async def test_ids_and_names_of_255_bytes_are_stored(self, store: EventStore) -> None:
        new = AppendRequest(LONGEST, LONGEST, 0, [event(event_type=LONGEST)], [NewCommand(LONGEST, 1, 1)])
        await append(store, new)
        [kept] = await log(store)
        assert (kept.aggregate_type, kept.aggregate_id, kept.event_type) == (LONGEST, LONGEST, LONGEST)
        assert await store.find_commands([LONGEST]) == {LONGEST: RecordedCommand(LONGEST, LONGEST, LONGEST, 1, 1)}
        assert list((await store.read(0, 10, [LONGEST])).events) == [kept]
        taken = StoredSnapshot(LONGEST, LONGEST, LONGEST, 1, LONGEST, "{}", 0, NOON)
        await store.save_snapshots([taken])
        assert await store.load_snapshots(LONGEST, [LONGEST], LONGEST) == {LONGEST: taken}
        held = await store.claim_checkpoint(LONGEST, 2**31 - 1)
        await store.save_checkpoint(LONGEST, 2**31 - 1, CheckpointUpdate(held))

    @pytest.mark.parametrize("kind", PAYLOADS)
    async def test_a_payload_of_1_mib_and_metadata_of_64_kib_are_stored(self, store: EventStore, kind: str) -> None:
        payload, metadata = PAYLOADS[kind], METADATA[kind]
        assert (len(payload.encode()), len(metadata.encode())) == (2**20, 2**16)
        await append(store, AppendRequest(TYPE, "a", 0, [event(payload, metadata=metadata)]))
        [kept] = await log(store)
        assert kept.payload == payload
        assert kept.metadata == metadata
        await store.save_snapshots([snapshot("a", 1, payload=payload)])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].payload == payload

    async def test_the_highest_numbers_are_accepted(self, store: EventStore) -> None:
        await append(store, AppendRequest(TYPE, "a", 0, [event(event_version=2**31 - 1)]))
        assert (await log(store))[0].event_version == 2**31 - 1
        assert await append(store, request("a", after=2**63 - 1)) == [Conflict(1)]
        assert await append(store, request("b", after=2**63 - 1, events=0)) == [Conflict(0)]
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2**63 - 1, held.fencing_token)))
        assert (await store.claim_checkpoint("query", 1)).position == 2**63 - 1
        await store.save_snapshots([snapshot("a", 2**63 - 1)])
        assert await store.load_snapshots(TYPE, ["a"], "v1") == {}
