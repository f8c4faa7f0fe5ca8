"""The arguments of a store are checked exactly once."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self, cast

import pytest

from eventree import EventSourcing, EventStore, MemoryStore, SQLiteStore
from eventree.stores.checked import CheckedStore, check_json
from eventree.stores.contract import CommitStamp
from eventree.stores.forwarding import ForwardingStore, checked
from eventree.testing import EventStoreSuite, FailingStore, TransactionalStoreSuite
from sourcing.ledger import add, entries, ledger

UNCHECKED = {"head", "list_aggregate_types", "list_queries"}
"""The methods that take nothing to check."""


class Foreign:
    """A store of a user's own, which checks nothing: the code of one of ours, behind its checks."""

    def __init__(self, inner: MemoryStore | SQLiteStore) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return "<Foreign>"

    async def read(self, *args: Any, live: bool = False, after_stamp: CommitStamp | None = None) -> Any:
        """Read from the database, also for those that follow live."""
        after, limit, types, event_types = (*args, None, None)[:4]
        return await self._inner._read(after, limit, types, event_types, after_stamp)

    async def list_aggregates(self, type: str | None, *, after: tuple[str, str] | None, limit: int) -> Any:
        return await self._inner._list_aggregates(type, after or ("", ""), limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name if name in UNCHECKED else f"_{name}")

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._inner.__aexit__(None, None, None)


class ForeignTransactional(Foreign):
    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[Any]:
        assert isinstance(self._inner, SQLiteStore)
        return self._inner.transaction(lease)


def foreign() -> EventStore:
    return cast("EventStore", Foreign(MemoryStore()))


class TestChecking(EventStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        async with checked(foreign()) as store:
            yield store


class TestCheckingTransactions(TransactionalStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[EventStore]:
        inner = cast("EventStore", ForeignTransactional(SQLiteStore(tmp_path / "events.db")))
        async with checked(inner) as store:
            yield store


@pytest.mark.parametrize(
    "make",
    [
        MemoryStore,
        lambda: FailingStore(MemoryStore()),
        lambda: ForwardingStore(FailingStore(SQLiteStore("events.db"))),
        lambda: checked(foreign()),
        lambda: ForwardingStore(checked(foreign())),
    ],
)
def test_a_store_whose_arguments_are_checked_stays_as_it_is(make: Callable[[], EventStore]) -> None:
    store = make()
    assert checked(store) is store


@pytest.mark.parametrize("make", [foreign, lambda: ForwardingStore(foreign())])
def test_another_one_is_checked_from_outside(make: Callable[[], EventStore]) -> None:
    store = make()
    around = checked(store)
    assert around is not store
    assert repr(around) == repr(store)
    assert not hasattr(around, "transaction")


async def test_a_command_is_not_checked_again_by_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender's arguments were checked where they were given, and its events when they were encoded."""
    seen: list[str] = []

    def count(name: str, value: str, max_bytes: int) -> None:
        seen.append(name)
        check_json(name, value, max_bytes)

    monkeypatch.setattr("eventree.stores.checked.check_json", count)
    for make, checks in ((MemoryStore, 0), (foreign, 0), (FailingStore, 1)):  # that one passes on the whole `append`
        seen.clear()
        async with make() as store, EventSourcing(ledger, store) as system:
            (await system.execute("a", add(1))).unwrap()
            assert await entries(system, "a") == [1]
        assert seen == ["payload", "metadata"] * checks


def test_a_store_that_lacks_a_method_cannot_be_made() -> None:
    class Empty(EventStore):
        pass

    class WithoutHead(CheckedStore):
        pass

    for kind in (Empty, WithoutHead):
        with pytest.raises(TypeError, match="abstract"):
            kind()  # type: ignore[abstract]
