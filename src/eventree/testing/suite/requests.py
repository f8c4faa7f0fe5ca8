"""Promises about requests to the workers of queries, and their answers."""

from uuid import uuid4

import pytest

from eventree.errors import CheckpointFenced
from eventree.stores.contract import MAX_REQUESTS, CheckpointUpdate, EventStore, RequestAnswer
from eventree.testing.store_values import parked, query_request


class RequestPromises:
    """A request waits until the holder of the lease answers it, and its answer until it is taken."""

    async def test_requests_wait_in_the_order_in_which_they_were_put(self, store: EventStore) -> None:
        requests = [query_request(f"action {number}", "é" * number) for number in range(5, 0, -1)]
        for request in requests:
            assert await store.put_request(request)
        assert await store.load_requests("query", 1) == requests
        assert await store.put_request(requests[2])
        assert await store.load_requests("query", 1) == requests

    async def test_requests_are_those_of_one_version_of_one_query(self, store: EventStore) -> None:
        one, two, other = query_request(), query_request(version=2), query_request(name="other")
        for request in (one, two, other):
            assert await store.put_request(request)
        held = await store.claim_checkpoint("query", 1)
        assert await store.load_requests("query", 1) == [one]
        assert await store.load_requests("query", 2) == [two]
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[RequestAnswer(two.id)]))
        assert await store.load_requests("query", 2) == [two]
        assert await store.load_requests("other", 1) == [other]

    async def test_a_checkpoint_tells_how_many_requests_wait(self, store: EventStore) -> None:
        first, second = query_request(), query_request()
        assert await store.put_request(first)
        held = await store.claim_checkpoint("query", 1)
        assert await store.put_request(second)
        assert await store.put_request(query_request(version=2))
        assert await _waiting(store) == 2
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[RequestAnswer(first.id)]))
        assert await _waiting(store) == 1

    async def test_an_answer_is_stored_with_an_update_and_taken_once(self, store: EventStore) -> None:
        first, second = query_request(), query_request()
        assert await store.put_request(first)
        assert await store.put_request(second)
        held = await store.claim_checkpoint("query", 1)
        answers = [RequestAnswer(first.id, 7, "", "é" * 2_000), RequestAnswer(second.id, 0, "Boom", "why")]
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, park=[parked("a", 1)], answers=answers))
        assert await store.load_requests("query", 1) == []
        assert await store.take_answer(second.id) == answers[1]
        assert await store.take_answer(first.id) == answers[0]
        assert await store.take_answer(first.id) is None
        assert await store.load_parked("query", 1) == [parked("a", 1)]

    async def test_there_is_no_answer_before_it_is_given(self, store: EventStore) -> None:
        request = query_request()
        assert await store.put_request(request)
        assert await store.take_answer(request.id) is None
        assert await store.take_answer(uuid4()) is None
        assert await store.load_requests("query", 1) == [request]

    async def test_the_first_answer_counts(self, store: EventStore) -> None:
        request = query_request()
        assert await store.put_request(request)
        held = await store.claim_checkpoint("query", 1)
        for result in (1, 2):
            answer = RequestAnswer(request.id, result)
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[answer]))
        assert await store.put_request(request)
        assert await store.load_requests("query", 1) == []
        assert await store.take_answer(request.id) == RequestAnswer(request.id, 1)

    async def test_an_answer_to_what_nobody_asked_is_forgotten(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        answer = RequestAnswer(uuid4(), 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[answer]))
        assert await store.take_answer(answer.id) is None

    async def test_a_fenced_worker_answers_nothing(self, store: EventStore) -> None:
        request = query_request()
        assert await store.put_request(request)
        old = await store.claim_checkpoint("query", 1)
        await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(old, answers=[RequestAnswer(request.id)]))
        assert await store.load_requests("query", 1) == [request]
        assert await store.take_answer(request.id) is None

    async def test_a_limited_number_of_requests_waits(self, store: EventStore) -> None:
        requests = [query_request() for _ in range(MAX_REQUESTS)]
        for request in requests:
            assert await store.put_request(request)
        one_more = query_request()
        assert not await store.put_request(one_more)
        assert await store.put_request(requests[0])
        assert await store.put_request(query_request(version=2))
        assert await store.load_requests("query", 1) == requests
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[RequestAnswer(requests[0].id)]))
        assert await store.put_request(one_more)
        assert await store.load_requests("query", 1) == [*requests[1:], one_more]


async def _waiting(store: EventStore) -> int:
    stored = await store.load_checkpoint("query", 1)
    return stored.requests if stored is not None else 0
