"""What the log says of a commit that fails: one traceback, then a line for each attempt, and what to do next."""

import logging
from typing import Any

import pytest

from eventree import EventSourcing, EventStore, MemoryStore, Projection, QueryStopped
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Events, patient
from sourcing.teller import open_store
from sourcing.totals import project, setup

NEXT = {
    "stop": "it stopped: fix the cause and call resume(), or leave the commit out with skip(2)",
    "skip": "it is left out for good",
    "park": "it is parked, with all later commits of its aggregate: call retry_parked() once the cause is fixed, or "
    "drop_parked(2)",
}


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "failed at position" in record.getMessage()]


async def ends(system: Any, policy: str) -> None:
    if policy == "stop":
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up(timeout=20)
    else:
        await system.query("q").caught_up(timeout=20)


@pytest.mark.parametrize("policy", NEXT)
async def test_a_poison_event_has_one_traceback_and_one_line_for_each_attempt(
    store: EventStore, caplog: pytest.LogCaptureFixture, policy: Any
) -> None:
    seen = Contexts()
    seen.poison.add(2)
    query = patient(seen, on_failure=policy, max_attempts=4)
    async with EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("c", add(3))])
        await ends(system, policy)
    told = lines(caplog)
    assert [bool(record.exc_info) for record in told] == [True, False, False, False]
    begin = "query q failed at position 2 (ledger 'b', Added), attempt {} of 4: Boom; "
    assert [record.getMessage().startswith(begin.format(n)) for n, record in enumerate(told, 1)] == [True] * 4
    assert all("retries in 0.00 s" in record.getMessage() for record in told[:3])
    assert told[3].getMessage() == begin.format(4) + NEXT[policy]
    assert [record.levelname for record in told] == ["WARNING"] * 3 + ["ERROR"]
    assert all("\n" not in record.getMessage() for record in told)


@pytest.mark.parametrize("policy", NEXT)
async def test_so_it_is_with_a_projection(place: str, caplog: pytest.LogCaptureFixture, policy: Any) -> None:
    async def project_but(connection: Any, events: Any) -> None:
        if any(event.aggregate_id == "b" for event in events):
            raise Boom("first line\nsecond")
        await project(connection, events)

    query: Projection[Added] = Projection(
        "q", project_but, setup=setup, on_failure=policy, max_attempts=3, backoff=AT_ONCE, poll_interval=0.01
    )
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("c", add(3))])
        await ends(system, policy)
    told = lines(caplog)
    assert [bool(record.exc_info) for record in told] == [True, False, False]
    assert told[2].getMessage().endswith(f"attempt 3 of 3: Boom: first line second; {NEXT[policy]}")


async def test_a_commit_that_may_not_be_tried_again_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    seen = Contexts()
    seen.poison.add(2)
    query = patient(seen, on_failure="park", max_attempts=1)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2, 4)), ("c", add(3))])
        await system.query("q").caught_up(timeout=20)
    [told] = lines(caplog)
    assert (told.levelname, bool(told.exc_info)) == ("ERROR", True)
    assert "attempt 1 of 1" in told.getMessage()


async def test_nothing_of_the_event_is_told_but_what_the_error_says(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: str, __: Events) -> None:
        raise Boom("x" * 5_000)

    query = patient(fails, on_failure="park")
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(4_711))
        await system.query("q").caught_up(timeout=20)
        [parked] = await system.query("q").parked()
    assert len(parked.reason) == 1_000
    assert all(len(record.getMessage()) < 1_500 for record in lines(caplog))
    assert "4711" not in caplog.text
