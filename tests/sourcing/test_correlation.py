"""Who caused what: ids that follow from one command to the next, and never take the place of a user's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventree import (
    Actor,
    ActorContext,
    ChildSpec,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    MemoryStore,
    Query,
    Supervisor,
    correlation,
    current_correlation,
)
from eventree.sourcing import Correlation
from eventree.testing import FailingStore
from sourcing.correlating import Handler, all_caught_up, caused_by, chain, ledger_called, metadata, only_event
from sourcing.ledger import LedgerSystem, add, ledger
from sourcing.reading import Events, Seen, query
from sourcing.recording_store import RecordingStore
from sourcing.teller import open_store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        pytest.importorskip("eventree.stores.postgres.store")
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return str(tmp_path / "events.db") if request.param == "sqlite" else ""


@pytest.fixture
async def every_store(where: str) -> AsyncIterator[EventStore]:
    async with open_store(where) if where else MemoryStore() as opened:
        yield opened


# --- chains


async def test_every_event_of_a_chain_leads_back_to_its_beginning(every_store: EventStore) -> None:
    names = ["one", "two", "three", "four"]
    async with chain(every_store, *names) as systems:
        commit = (await systems[0].execute("a", add(1))).unwrap()
        await all_caught_up(systems, names)
        events = [await only_event(system, "a") for system in systems]
    assert [event.payload.amount for event in events] == [1, 2, 3, 4]
    root = str(commit.commit_id)
    assert events[0].metadata == {}
    assert [event.correlation_id for event in events] == [root] * 4
    assert [event.metadata["correlation_id"] for event in events[1:]] == [root] * 3
    assert [event.causation_id for event in events] == [None, *(str(event.commit_id) for event in events[:-1])]


async def test_a_chain_that_begins_with_a_request_has_its_id(every_store: EventStore) -> None:
    names = ["one", "two", "three"]
    async with chain(every_store, *names) as systems:
        with correlation("request-42"):
            await systems[0].execute("a", add(1), metadata={"user": "7"})
        await all_caught_up(systems, names)
        one, two, three = [await only_event(system, "a") for system in systems]
    assert one.metadata == {"correlation_id": "request-42", "user": "7"}
    assert two.metadata == {"correlation_id": "request-42", "causation_id": str(one.commit_id)}
    assert three.metadata == {"correlation_id": "request-42", "causation_id": str(two.commit_id)}


async def test_all_events_of_a_commit_have_its_id_however_it_is_answered(every_store: EventStore) -> None:
    given = uuid4()
    async with EventSourcing(ledger, every_store) as system:
        first = (await system.execute("a", add(1, 2), command_id="c")).unwrap()
        by_uuid = (await system.execute("a", add(3), command_id=given)).unwrap()
        nothing = (await system.execute("a", add(), command_id="empty")).unwrap()
        again = (await system.execute("a", add(1, 2), command_id="c")).unwrap()
        by_uuid_again = (await system.execute("a", add(3), command_id=given)).unwrap()
        by_text = (await system.execute("a", add(3), command_id=str(given))).unwrap()
        nothing_again = (await system.execute("a", add(), command_id="empty")).unwrap()
        unborn = (await system.execute("b", add(), command_id="unborn")).unwrap()
        unborn_again = (await system.execute("b", add(), command_id="unborn")).unwrap()
        ids = [event.commit_id for event in (await system.load_events("a")).unwrap()]
    assert ids == [first.commit_id, first.commit_id, by_uuid.commit_id]
    assert (again.commit_id, by_uuid_again.commit_id, by_text.commit_id) == (
        first.commit_id,
        by_uuid.commit_id,
        by_uuid.commit_id,
    )
    assert by_uuid.commit_id != given
    assert nothing.commit_id == nothing_again.commit_id
    assert unborn.commit_id == unborn_again.commit_id
    assert len({*ids, nothing.commit_id, unborn.commit_id, UUID(int=0)}) == 5


@pytest.mark.parametrize(("is_once", "times"), [(False, 2), (True, 1)])
async def test_a_handler_that_is_crashed_and_repeated_gives_the_same_ids(is_once: bool, times: int) -> None:  # noqa: FBT001
    other_type = ledger_called("other")
    async with FailingStore() as store, EventSourcing(other_type, store) as other:
        seen = Seen()

        async def react(id: str, events: Events) -> None:
            command_id = str(events[0].commit_id) if is_once else None
            (await other.execute(id, add(events[0].payload.amount), command_id=command_id)).unwrap()
            seen(id, events)

        async with EventSourcing(ledger, store, queries=[query("q", react)]) as system:
            await system.query("q").caught_up()
            store.fail("save_checkpoint", RuntimeError("bug"))
            await system.execute("a", add(1))
            await seen.reaches(2)
            await system.query("q").caught_up()
            assert system.query("q").incarnation == 2
            event = await only_event(system, "a")
        assert await metadata(other, "a") == [caused_by(event)] * times


async def test_a_commit_whose_command_has_the_id_of_its_cause_is_still_one_of_its_own(store: EventStore) -> None:
    names = ["one", "two", "three"]
    types = [ledger_called(name) for name in names]
    seen = Seen()
    systems = [EventSourcing(each, store) for each in types]

    async def react(id: str, events: Events) -> None:
        following = names.index(events[0].aggregate_type) + 1
        if following < len(systems):
            await systems[following].execute(id, add(following), command_id=events[0].commit_id)
        seen(id, events)

    reacting = Query("q", react, follows=types)
    async with systems[0], systems[1], systems[2]:
        await systems[0].register_queries([reacting])
        await systems[0].execute("a", add(0))
        await seen.reaches(3)
    assert seen.amounts == [("a", [0]), ("a", [1]), ("a", [2])]
    one, two, three = [events[0] for _, events in seen.commits]
    assert len({one.commit_id, two.commit_id, three.commit_id}) == 3
    assert [two.causation_id, three.causation_id] == [str(one.commit_id), str(two.commit_id)]


# --- every way in


async def execute(system: LedgerSystem, id: str, own: Mapping[str, str] | None) -> None:
    (await system.execute(id, add(1), metadata=own)).unwrap()


async def execute_many(system: LedgerSystem, id: str, own: Mapping[str, str] | None) -> None:
    [answer] = await system.execute_many([(id, add(1))], metadata=own)
    answer.unwrap()


async def execute_many_with_one_each(system: LedgerSystem, id: str, own: Mapping[str, str] | None) -> None:
    answers = await system.execute_many([("other", add(1)), (id, add(1))], metadata=[None, own])
    answers[1].unwrap()


async def execute_nowait(system: LedgerSystem, id: str, own: Mapping[str, str] | None) -> None:
    system.execute_nowait(id, add(1), metadata=own)
    await system.execute("after", add(1))


every_way = pytest.mark.parametrize("way", [execute, execute_many, execute_many_with_one_each, execute_nowait])


@every_way
async def test_every_way_to_execute_takes_the_ids_along(store: EventStore, way: Any) -> None:
    async with EventSourcing(ledger, store) as system:
        with correlation("c", causation_id="m"):
            await way(system, "a", {"user": "7"})
        await way(system, "b", {"user": "7"})
        await way(system, "c", None)
        assert await metadata(system, "a") == [{"correlation_id": "c", "causation_id": "m", "user": "7"}]
        assert await metadata(system, "b") == [{"user": "7"}]
        assert await metadata(system, "c") == [{}]


@every_way
async def test_every_way_takes_them_along_out_of_a_handler(store: EventStore, way: Any) -> None:
    async with EventSourcing(ledger_called("other"), store) as other:

        async def react(id: str, _: Events) -> None:
            await way(other, id, None)

        async with EventSourcing(ledger, store, queries=[query("q", react)]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            assert await metadata(other, "a") == [caused_by(await only_event(system, "a"))]


@every_way
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"correlation_id": "own"}, {"correlation_id": "own", "causation_id": "m"}),
        ({"causation_id": "own"}, {"correlation_id": "c", "causation_id": "own"}),
        ({"correlation_id": "", "causation_id": ""}, {"correlation_id": "", "causation_id": ""}),
        ({"correlation": "own"}, {"correlation_id": "c", "causation_id": "m", "correlation": "own"}),
    ],
)
async def test_what_a_user_says_stands(
    store: EventStore, way: Any, own: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    async with EventSourcing(ledger, store) as system:
        given = dict(own)
        with correlation("c", causation_id="m"):
            await way(system, "a", own)
        assert await metadata(system, "a") == [expected]
        assert own == given


async def test_what_follows_from_a_users_own_id_has_it_too(store: EventStore) -> None:
    names = ["one", "two", "three"]
    async with chain(store, *names) as systems:
        await systems[0].execute("a", add(1), metadata={"correlation_id": "own", "causation_id": "mine"})
        await systems[0].execute("b", add(1), metadata={"correlation_id": ""})
        await all_caught_up(systems, names)
        one, two, three = [await only_event(system, "a") for system in systems]
        assert {event.correlation_id for event in (one, two, three)} == {"own"}
        assert [one.causation_id, two.causation_id, three.causation_id] == [
            "mine",
            str(one.commit_id),
            str(two.commit_id),
        ]
        nameless = await only_event(systems[0], "b")
        assert await metadata(systems[1], "b") == [caused_by(nameless)]


async def test_limits_count_for_what_is_stored_in_the_end(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        largest = {"own": "x" * (64 * 1024 - len('{"own":""}'))}
        assert (await system.execute("a", add(1), metadata=largest)).unwrap().sequence == 1
        with correlation("c"):
            refused = await system.execute("a", add(1), metadata=largest)
            [one, other] = await system.execute_many([("a", add(1)), ("a", add(1))], metadata=[largest, None])
            with pytest.raises(InvalidArgument, match="65536 bytes of JSON"):
                system.execute_nowait("a", add(1), metadata=largest)
            no_text = await system.execute("a", add(1), metadata={"user": 7})  # type: ignore[dict-item]
        for answer in (refused, one, no_text):
            assert isinstance(answer, Err)
            assert isinstance(answer.error, InvalidArgument)
            assert answer.error.name == "metadata"
        assert other.unwrap().sequence == 2
        assert await metadata(system, "a") == [largest, {"correlation_id": "c"}]


# --- the context


@pytest.mark.parametrize("id", ["", "a\0b", "x" * 256, "\ud800", 7, None, uuid4()])
def test_an_id_that_cannot_be_kept_is_refused_before_anything_happens(id: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        correlation(id)
    assert caught.value.name == "correlation_id"
    if id is not None:
        with pytest.raises(InvalidArgument) as caught:
            correlation("c", causation_id=id)
        assert caught.value.name == "causation_id"
    assert current_correlation() is None


def test_inside_of_another_one_it_counts_alone_and_the_other_comes_back() -> None:
    with correlation("outer", causation_id="m"):
        with pytest.raises(KeyError), correlation("inner"):
            assert current_correlation() == Correlation("inner", "m")
            raise KeyError
        assert current_correlation() == Correlation("outer", "m")
        with correlation("inner", causation_id="n"):
            assert current_correlation() == Correlation("inner", "n")
    assert current_correlation() is None
    with correlation("x" * 255):
        assert current_correlation() == Correlation("x" * 255, None)


async def test_a_handler_can_begin_something_new_and_the_cause_is_still_told(store: EventStore) -> None:
    async with EventSourcing(ledger_called("other"), store) as other:

        async def react(id: str, _: Events) -> None:
            with correlation("new"):
                await other.execute(id, add(1))
            await other.execute(id, add(2))

        async with EventSourcing(ledger, store, queries=[query("q", react)]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            event = await only_event(system, "a")
            new = {"correlation_id": "new", "causation_id": str(event.commit_id)}
            assert await metadata(other, "a") == [new, caused_by(event)]


def told(found: list[Correlation | None]) -> Handler:
    def look(_: str, __: Events) -> None:
        found.append(current_correlation())

    return look


def told_later(found: list[Correlation | None]) -> Handler:
    async def look(_: str, __: Events) -> None:
        await asyncio.sleep(0)
        found.append(current_correlation())

    return look


@pytest.mark.parametrize("kind", [told, told_later])
async def test_a_handler_sync_or_not_knows_what_it_works_on(
    store: EventStore, kind: Callable[[list[Correlation | None]], Handler]
) -> None:
    found: list[Correlation | None] = []
    async with EventSourcing(ledger, store, queries=[query("q", kind(found))]) as system:
        first = (await system.execute("a", add(1, 2))).unwrap()
        with correlation("c"):
            second = (await system.execute("b", add(3))).unwrap()
        third = (await system.execute("a", add(4), wait_for=["q"])).unwrap()
    assert found == [
        Correlation(str(first.commit_id), str(first.commit_id)),
        Correlation("c", str(second.commit_id)),
        Correlation(str(third.commit_id), str(third.commit_id)),
    ]


async def test_a_sync_handler_that_hands_a_command_over_passes_the_ids_on(store: EventStore) -> None:
    async with EventSourcing(ledger_called("other"), store) as other:

        def react(id: str, _: Events) -> None:
            other.execute_nowait(id, add(1))

        async with EventSourcing(ledger, store, queries=[query("q", react)]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            await other.execute("after", add(1))
            assert await metadata(other, "a") == [caused_by(await only_event(system, "a"))]


async def test_tasks_of_a_handler_go_on_with_its_ids(store: EventStore) -> None:
    tasks: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()
    async with EventSourcing(ledger_called("other"), store) as other:

        async def late(id: str) -> None:
            await go_on.wait()
            await other.execute(id, add(1))

        def react(id: str, _: Events) -> None:
            tasks.append(asyncio.get_running_loop().create_task(late(id)))

        async with EventSourcing(ledger, store, queries=[query("q", react)]) as system:
            await system.execute_many([("a", add(1)), ("b", add(1))])
            await system.query("q").caught_up()
            go_on.set()
            await asyncio.gather(*tasks)
            for id in "ab":
                assert await metadata(other, id) == [caused_by(await only_event(system, id))]


async def test_requests_at_the_same_time_do_not_mix(store: EventStore) -> None:
    names = ["one", "two"]
    async with chain(store, *names) as systems:

        async def request(id: str) -> None:
            with correlation(f"request-{id}"):
                for amount in range(5):
                    await systems[0].execute(id, add(amount))
                    await asyncio.sleep(0)

        await asyncio.gather(*(request(str(number)) for number in range(20)))
        await all_caught_up(systems, names)
        for number in range(20):
            first = (await systems[0].load_events(str(number))).unwrap()
            second = (await systems[1].load_events(str(number))).unwrap()
            assert [event.metadata for event in first] == [{"correlation_id": f"request-{number}"}] * 5
            assert [event.correlation_id for event in second] == [f"request-{number}"] * 5
            assert [event.causation_id for event in second] == [str(event.commit_id) for event in first]


async def test_commands_that_share_a_commit_of_the_store_keep_their_own_ids() -> None:
    recorded = RecordingStore()
    async with FailingStore(recorded) as store, EventSourcing(ledger, store) as system:
        gate = store.hold("append")
        system.execute_nowait("first", add(0))
        await gate.reached()
        for number in range(4):
            with correlation(f"request-{number}"):
                system.execute_nowait("ab"[number % 2], add(number))
        system.execute_nowait("a", add(4))
        gate.open()
        await system.execute("last", add(0))
        assert [len(requests) for requests in recorded.appended] == [1, 3]
        ids = [{"correlation_id": f"request-{number}"} for number in range(4)]
        assert await metadata(system, "a") == [ids[0], ids[2], {}]
        assert await metadata(system, "b") == [ids[1], ids[3]]


# --- across actors


class Clerk(Actor[str, None]):
    """Execute a command for each message."""

    def __init__(self, system: LedgerSystem) -> None:
        self.system = system

    async def receive(self, message: str, ctx: ActorContext[str, None]) -> None:
        await asyncio.sleep(0)
        (await self.system.execute(message, add(1))).unwrap()


@pytest.mark.parametrize("way", ["tell", "send", "ask", "ask_many"])
async def test_what_an_actor_does_for_a_message_has_the_ids_of_its_sender(every_store: EventStore, way: str) -> None:
    other = EventSourcing(ledger_called("other"), every_store)
    spec = ChildSpec(id="clerk", start=lambda: Clerk(other))
    async with Supervisor([other.child_spec(), spec]) as tree:
        clerk = tree.ref(spec)

        async def react(id: str, _: Events) -> None:
            match way:
                case "tell":
                    clerk.tell(id)
                case "send":
                    await clerk.send(id)
                case "ask":
                    await clerk.ask(id)
                case _:
                    assert await clerk.ask_many([id]) == [None]

        async with EventSourcing(ledger, every_store, queries=[query("q", react)]) as system:
            await system.execute_many([("a", add(1)), ("b", add(1))])
            await system.query("q").caught_up()
            with correlation("c"):
                clerk.tell("from outside")
            await clerk.ask("later")
            for id in "ab":
                assert await metadata(other, id) == [caused_by(await only_event(system, id))]
            assert await metadata(other, "from outside") == [{"correlation_id": "c"}]
            assert await metadata(other, "later") == [{}]
