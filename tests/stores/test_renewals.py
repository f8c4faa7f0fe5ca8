"""Renewals of leases share transactions, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from eventree import PostgresStore, SQLiteStore, StoreUnavailable
from eventree.stores.contract import LeaseRequest
from eventree.stores.renewals import Renewal, SharedRenewals


class Sent:
    """Note what is sent, and let it be answered."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, renewals: Sequence[Renewal]) -> list[bool]:
        self.batches.append([renewal.name for renewal in renewals])
        self.began.set()
        await self.go.wait()
        return [renewal.fencing_token == 1 for renewal in renewals]


def renewal(name: str, token: int = 1) -> Renewal:
    return Renewal(name, 1, token, 5.0)


async def test_renewals_of_the_same_moment_are_sent_together_and_answered_each() -> None:
    sent = Sent()
    sent.go.set()
    renewals = SharedRenewals(sent)
    answers = await asyncio.gather(*(renewals.renew(renewal(name, token)) for name, token in [("a", 1), ("b", 2)]))
    assert (answers, sent.batches) == ([True, False], [["a", "b"]])
    assert await renewals.renew(renewal("c"))
    assert sent.batches[1:] == [["c"]]


async def test_renewals_that_come_while_others_are_sent_go_together_next() -> None:
    sent = Sent()
    renewals = SharedRenewals(sent)
    tasks = [asyncio.create_task(renewals.renew(renewal("a")))]
    await sent.began.wait()
    tasks += [asyncio.create_task(renewals.renew(renewal(name))) for name in "bcd"]
    await asyncio.sleep(0)
    tasks[2].cancel()  # what nobody waits for is not sent
    sent.go.set()
    await asyncio.wait(tasks)
    assert sent.batches == [["a"], ["b", "d"]]
    assert [task.cancelled() or task.result() for task in tasks] == [True] * 4


async def test_a_failure_is_told_to_each_and_the_next_works() -> None:
    errors: list[Exception] = [StoreUnavailable("away")]

    async def send(renewals: Sequence[Renewal]) -> list[bool]:
        if errors:
            raise errors.pop()
        return [True for _ in renewals]

    renewals = SharedRenewals(send)
    answers = await asyncio.gather(*(renewals.renew(renewal(name)) for name in "ab"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    assert await renewals.renew(renewal("c"))


@pytest.mark.parametrize("place", ["sqlite", "postgres"])
async def test_many_leases_are_renewed_at_once(place: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("tmp_path")
    is_sqlite = place == "sqlite"
    store = SQLiteStore(folder / "e.db") if is_sqlite else PostgresStore(request.getfixturevalue("postgres_dsn"))
    async with store:
        names = [f"query {number}" for number in range(20)]
        claimed = [await store.claim_checkpoint(name, 1, LeaseRequest("me", 1.0)) for name in names]
        tokens = [held.fencing_token + (number % 2) for number, held in enumerate(claimed)]
        kept = await asyncio.gather(
            *(store.renew_checkpoint(name, 1, token, 600.0) for name, token in zip(names, tokens, strict=True))
        )
        assert kept == [number % 2 == 0 for number in range(20)]
        leases = {summary.name: summary.lease_seconds > 100 for summary in await store.list_queries()}
        assert leases == {name: number % 2 == 0 for number, name in enumerate(names)}
