"""Arguments are checked before anything is sent: a bad one is an answer, and nothing is stored."""

from typing import Any

import pytest

from eventree import Err, EventStore, InvalidArgument
from sourcing.banking import OPEN, Bank, deposit


async def test_a_bad_command_among_many_is_its_own_error(bank: Bank) -> None:
    missing: Any = None
    answers = await bank.execute_many([("", OPEN), ("a", OPEN), ("a", missing), ("a\0", OPEN), ("a", deposit(1))])
    kinds = [
        answer.error.name if isinstance(answer, Err) and isinstance(answer.error, InvalidArgument) else "ok"
        for answer in answers
    ]
    assert kinds == ["aggregate_id", "ok", "command", "aggregate_id", "ok"]


async def test_details_of_many_commands_are_one_per_command(bank: Bank, store: EventStore) -> None:
    answers = await bank.execute_many([("a", OPEN), ("b", OPEN)], metadata=[{"n": "1"}])
    more = await bank.execute_many([("a", OPEN), ("b", OPEN)], command_ids=["1", "2", "3"])
    assert [type(answer.error) for answer in [*answers, *more] if isinstance(answer, Err)] == [InvalidArgument] * 4
    assert await store.head() == 0


BAD: list[tuple[dict[str, Any], str]] = [
    *[({"aggregate_id": id}, "aggregate_id") for id in ("", "a" * 256, "a\0", "\ud800", 7, None)],
    ({"command": None}, "command"),
    *[({"metadata": bad}, "metadata") for bad in ({"a": 1}, [("a", "b")], {"a": "\ud800"}, {"a": "x" * 65_536})],
    *[({"metadata": {name: "a" * 256}}, name) for name in ("correlation_id", "causation_id")],
    *[({"command_id": id}, "command_id") for id in ("", "a" * 256, "a\0", "\ud800", 7)],
    *[({"timeout": seconds}, "timeout") for seconds in (0, -1, float("nan"), "5", None)],
]


@pytest.mark.parametrize(("bad", "name"), BAD, ids=str)
async def test_a_bad_argument_is_an_answer_and_nothing_is_stored(
    bank: Bank, store: EventStore, bad: dict[str, Any], name: str
) -> None:
    answer = await bank.execute(**{"aggregate_id": "a", "command": OPEN, **bad})
    assert isinstance(answer, Err)
    assert isinstance(answer.error, InvalidArgument)
    assert answer.error.name == name
    assert await store.head() == 0


async def test_readers_refuse_bad_arguments_too(bank: Bank) -> None:
    answers = [
        await bank.load_aggregate(""),
        await bank.load_events("a\0"),
        await bank.latest_snapshot("\ud800"),
        await bank.aggregate_stats("a" * 256),
    ]
    assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [InvalidArgument] * 4
    assert isinstance(await bank.load_events("a", timeout=0), Err)


@pytest.mark.parametrize(("name", "value"), [("command_ids", "ab"), ("command_ids", ["a"]), ("metadata", 5)])
async def test_many_commands_need_one_entry_each(bank: Bank, store: EventStore, name: str, value: Any) -> None:
    answers = await bank.execute_many([("a", OPEN), ("b", OPEN)], **{name: value})
    assert [answer.error.name for answer in answers if isinstance(answer, Err)] == [name, name]  # type: ignore[union-attr]
    assert await store.head() == 0
