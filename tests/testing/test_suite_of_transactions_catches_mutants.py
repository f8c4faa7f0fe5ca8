"""The public suite catches stores whose transactions break a promise: faults planted in the SQLite store, one each."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import cast

import aiosqlite
import pytest

from eventree import SQLiteStore
from eventree.stores.contract import NO_LEASE, Checkpoint, CheckpointUpdate, LeaseRequest, StoreTransaction
from eventree.stores.sqlite.connection import Connection
from eventree.testing import TransactionalStoreSuite

AnyTransaction = StoreTransaction[aiosqlite.Connection]


class Inner:
    """A transaction as it should be; mutants of it change one thing."""

    is_contended = False

    def __init__(self, inner: AnyTransaction, store: SQLiteStore) -> None:
        self.inner = inner
        self.store = store
        self.connection = inner.connection

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        return await self.inner.claim_checkpoint(name, version, lease)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self.inner.save_checkpoint(name, version, update)

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self.inner.make_live(name, version, fencing_token)

    async def commit(self) -> None:
        """Commit what was done so far, and go on in another transaction."""
        connection = cast("Connection", self.connection)
        await connection.run(lambda db: db.execute("COMMIT"))
        await connection.run(lambda db: db.execute("BEGIN IMMEDIATE"))

    async def after_the_commit(self) -> None:
        pass


class WithInner(SQLiteStore):
    """The SQLite store, with transactions that mutants can change."""

    inner: type[Inner] = Inner

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[AnyTransaction]:
        return self._mutated(super().transaction(lease))

    @asynccontextmanager
    async def _mutated(
        self, opened: AbstractAsyncContextManager[AnyTransaction]
    ) -> AsyncGenerator[AnyTransaction, None]:
        async with opened as transaction:
            inner = self.inner(transaction, self)
            yield inner
        await inner.after_the_commit()


class SavesTheCheckpointAfterTheCommit(WithInner):
    class inner(Inner):  # noqa: N801 - it is what it is called
        late: tuple[str, int, CheckpointUpdate] | None = None

        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            self.late = name, version, update

        async def after_the_commit(self) -> None:
            if self.late is not None:
                await self.store.save_checkpoint(*self.late)


class CommitsBeforeItSavesTheCheckpoint(WithInner):
    class inner(Inner):  # noqa: N801
        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            await self.commit()
            await super().save_checkpoint(name, version, update)


class CommitsWhenItHasSavedTheCheckpoint(WithInner):
    class inner(Inner):  # noqa: N801
        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            await super().save_checkpoint(name, version, update)
            await self.commit()


class CommitsWhenItHasClaimedTheCheckpoint(WithInner):
    class inner(Inner):  # noqa: N801
        async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
            held = await super().claim_checkpoint(name, version, lease)
            await self.commit()
            return held


class CommitsWhenItHasMadeAVersionLive(WithInner):
    class inner(Inner):  # noqa: N801
        async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
            is_live = await super().make_live(name, version, fencing_token)
            await self.commit()
            return is_live


class SavesTheCheckpointWhoeverIsFenced(WithInner):
    class inner(Inner):  # noqa: N801
        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            stored = await self.store.load_checkpoint(name, version)
            assert stored is not None
            newest = Checkpoint(update.checkpoint.position, stored.checkpoint.fencing_token)
            await super().save_checkpoint(name, version, replace(update, checkpoint=newest))


class SavesNoCheckpoint(WithInner):
    class inner(Inner):  # noqa: N801
        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            pass


class ForgetsWhatIsParked(WithInner):
    class inner(Inner):  # noqa: N801
        async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
            await super().save_checkpoint(name, version, replace(update, park=()))


class SwallowsWhatIsRaised(WithInner):
    @asynccontextmanager
    async def _mutated(
        self, opened: AbstractAsyncContextManager[AnyTransaction]
    ) -> AsyncGenerator[AnyTransaction, None]:
        try:
            async with opened as transaction:
                yield transaction
        except ValueError:
            pass


class CommitsWhatever(WithInner):
    what: type[BaseException] = BaseException

    @asynccontextmanager
    async def _mutated(
        self, opened: AbstractAsyncContextManager[AnyTransaction]
    ) -> AsyncGenerator[AnyTransaction, None]:
        raised = None
        async with opened as transaction:
            try:
                yield transaction
            except self.what as error:
                raised = error
        if raised is not None:
            raise raised


class CommitsWhatRaised(CommitsWhatever):
    what: type[BaseException] = Exception


class CommitsWhatWasCancelled(CommitsWhatever):
    what: type[BaseException] = asyncio.CancelledError


class LetsTransactionsNest(WithInner):
    open: ContextVar[AnyTransaction | None] = ContextVar("open", default=None)

    @asynccontextmanager
    async def _mutated(
        self, opened: AbstractAsyncContextManager[AnyTransaction]
    ) -> AsyncGenerator[AnyTransaction, None]:
        around = self.open.get()
        if around is not None:
            yield around
            return
        async with opened as transaction:
            token = self.open.set(transaction)
            try:
                yield transaction
            finally:
                self.open.reset(token)


MUTANTS = [
    mutant
    for mutant in list(globals().values())
    if isinstance(mutant, type) and issubclass(mutant, WithInner) and mutant is not WithInner
]


async def keeps(store: SQLiteStore, promise: str) -> bool:
    try:
        async with asyncio.timeout(10), store:
            await getattr(TransactionalStoreSuite(), promise)(store)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it is caught
        return False
    return True


def broken(kind: type[SQLiteStore], folder: Path) -> Iterator[str]:
    for promise, _ in inspect.getmembers(TransactionalStoreSuite, inspect.isfunction):
        if promise.startswith("test_") and not asyncio.run(keeps(kind(folder / f"{promise}.db"), promise)):
            yield promise


@pytest.mark.parametrize("kind", [SQLiteStore, WithInner])
def test_the_sqlite_store_keeps_every_promise_of_transactions(kind: type[SQLiteStore], tmp_path: Path) -> None:
    assert list(broken(kind, tmp_path)) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_suite_catches(mutant: type[SQLiteStore], tmp_path: Path) -> None:
    assert next(broken(mutant, tmp_path), None) is not None
