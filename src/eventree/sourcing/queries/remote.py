"""Ask the process that works on a query, through the store."""

import asyncio
from typing import Final

from eventree.backoff import Backoff
from eventree.errors import (
    EventreeError,
    InvalidArgument,
    QueryRequestFailed,
    QueryRequestPending,
    QuerySuperseded,
    TooManyRequests,
)
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.queries.controls import Control, RetriedParked, RetryParked, request_of
from eventree.stores.contract import EventStore, QueryRequest, RequestAnswer

_POLL: Final = Backoff(initial=0.02, maximum=0.25, jitter=0)
"""How long to wait between two looks for an answer, in seconds."""


async def ask_elsewhere(store: EventStore, key: tuple[str, int], message: Control, began: float, timeout: float) -> int:
    """Put a request into the store and wait for the answer.

    Args:
        store: The store.
        key: The name and the version of the checkpoint.
        message: What is asked.
        began: When the caller began to wait, on the event loop's clock.
        timeout: How long to wait from then on, in seconds.

    Raises:
        QueryRequestPending: There is no answer in time.
        QueryRequestFailed, InvalidArgument: The answer.
        QuerySuperseded: A newer version is live.
        TooManyRequests: No more requests are queued.
        EventStoreError: The store failed, and nothing was put.
    """
    stored = await store.load_checkpoint(*key)
    if stored is not None and stored.live_version > key[1]:
        raise QuerySuperseded(*key, stored.live_version)
    request = request_of(message, *key)
    if not await store.put_request(request):
        raise TooManyRequests(key[0])
    now, looks = asyncio.get_running_loop().time, 0
    while True:
        answer = await _look(store, request)
        if answer is not None:
            return _result(message, request, answer)
        looks += 1
        left = began + timeout - now()
        if left <= 0:
            raise QueryRequestPending(key[0], request.action, timeout, await _holder(store, key))
        await asyncio.sleep(min(_POLL.delay(looks), left))


async def _look(store: EventStore, request: QueryRequest) -> RequestAnswer | None:
    try:
        return await store.take_answer(request.id)
    except TRANSIENT_ERRORS:  # the request is in the store
        return None


async def _holder(store: EventStore, key: tuple[str, int]) -> str | None:
    try:
        stored = await store.load_checkpoint(*key)
    except TRANSIENT_ERRORS:
        return None
    return stored.owner if stored is not None and stored.lease_seconds else None


def _result(message: Control, request: QueryRequest, answer: RequestAnswer) -> int:
    if answer.error:
        raise _error(request, answer)
    return RetriedParked(answer.result, answer.detail) if isinstance(message, RetryParked) else answer.result


def _error(request: QueryRequest, answer: RequestAnswer) -> EventreeError:
    name, _, reason = answer.detail.partition(": ")
    if answer.error == InvalidArgument.__name__:
        return InvalidArgument(name, reason)
    return QueryRequestFailed(request.name, request.action, answer.error, answer.detail)
