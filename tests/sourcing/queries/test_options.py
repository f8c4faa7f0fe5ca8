"""What cannot work is refused where it is given, by name, not when it is used."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from eventree import EventSourcing, EventStore, InvalidArgument, MemoryStore, Projection, Query
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import Contexts, Seen, patient
from sourcing.totals import project, setup

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"follows": ledger}, "follows"),
    ({"follows": ["x"]}, "follows"),
    ({"follows": "ledger"}, "follows"),
    ({"follows": [None]}, "follows"),
    ({"follows": 5}, "follows"),
    ({"version": 2**31}, "version"),
    ({"version": 2**40}, "version"),
    ({"max_parked": 3 * 10**9}, "max_parked"),
    ({"max_attempts": 2**31}, "max_attempts"),
    ({"max_attempts": True}, "max_attempts"),
    ({"on_failure": []}, "on_failure"),
    ({"poll_interval": "1"}, "poll_interval"),
    ({"lease": float("nan")}, "lease"),
    ({"backof": 1}, "backof"),
]


@pytest.mark.parametrize(("options", "name"), WRONG, ids=str)
def test_an_option_that_cannot_work_is_refused_when_it_is_given(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidArgument) as query:
        Query("q", Seen(), **options)
    with pytest.raises(InvalidArgument) as projection:
        Projection("q", project, setup=setup, **options)
    assert (query.value.name, projection.value.name) == (name, name)


@pytest.mark.parametrize("options", [{"version": 2**31 - 1}, {"max_parked": 2**31 - 1, "on_failure": "park"}], ids=str)
async def test_the_largest_numbers_work_also_after_a_restart(store: EventStore, options: Any) -> None:
    seen = Contexts()
    seen.poison.add(1)
    for amount in (1, 2):
        largest = patient(seen, **{"on_failure": "skip", **options})
        async with EventSourcing(ledger, store, queries=[largest]) as system:
            await system.execute(f"a{amount}", add(amount), wait_for=["q"])
            assert system.query("q").incarnation == 1
    assert seen.amounts == [("a2", [2])]


def generator(_: str, events: Any) -> Iterator[object]:
    yield events


async def async_generator(_: object, events: Any) -> AsyncIterator[object]:
    yield events


@pytest.mark.parametrize("handler", [generator, async_generator])
def test_a_generator_is_no_handler_as_it_would_not_run(handler: Any) -> None:
    with pytest.raises(InvalidArgument, match="yield") as query:
        Query("q", handler)
    with pytest.raises(InvalidArgument, match="yield") as projection:
        Projection("q", handler)
    assert (query.value.name, projection.value.name) == ("handler", "project")


@pytest.mark.parametrize("queries", [patient(Seen()), 7, "q", None], ids=repr)
async def test_queries_are_given_as_a_list(queries: Any) -> None:
    store = MemoryStore()
    with pytest.raises(InvalidArgument) as refused:
        EventSourcing(ledger, store, queries=queries)
    assert refused.value.name == "queries"
    async with store, EventSourcing(ledger, store) as system:
        with pytest.raises(InvalidArgument) as refused:
            await system.register_queries(queries)
        assert refused.value.name == "queries"


async def test_a_handle_needs_to_know_what_is_followed() -> None:
    with pytest.raises(InvalidArgument) as refused:
        Query("q", Seen()).handle(MemoryStore(), follows=ledger)  # type: ignore[arg-type]
    assert refused.value.name == "follows"


async def test_a_name_that_looks_like_another_version_is_a_name_of_its_own(store: EventStore) -> None:
    second, named = Seen(), Seen()
    queries = [patient(second, version=2), patient(named, "q v2"), patient(Seen(), "q v2", version=2)]
    async with EventSourcing(ledger, store, queries=queries) as system:
        await system.execute("a", add(1), wait_for=["q", "q v2"])
        assert (system.query("q").version, system.query("q v2", 1).version) == (2, 1)
        await second.reaches(1)
        assert (await system.system_stats()).query_actors_count == 3
    assert second.amounts == named.amounts == [("a", [1])]


async def test_a_handler_may_fail_with_whatever_it_likes_without_crashing_its_actor(store: EventStore) -> None:
    tries: list[int] = []

    def fails(_: str, __: Any) -> object:
        tries.append(1)
        if len(tries) == 1:
            return 5  # cannot be awaited
        if len(tries) == 2:
            raise Boom
        return None

    query: Query[Added] = patient(fails, max_attempts=5)  # type: ignore[arg-type]
    async with EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        assert (system.query("q").incarnation, len(tries)) == (1, 3)
