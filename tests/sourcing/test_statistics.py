"""The numbers of a system and of an aggregate."""

from bank import bank_account
from eventree import EventSourcing, EventStore, Ok, SnapshotConfig
from eventree.sourcing import AggregateStats
from sourcing.banking import OPEN, deposit


async def test_the_numbers_of_system_and_aggregate(store: EventStore) -> None:
    system = EventSourcing(bank_account, store, snapshots=SnapshotConfig(frequency=100))
    assert (await system.system_stats()).uptime_seconds == 0
    async with system:
        await system.execute_many([("a", OPEN), ("a", deposit(1)), ("a", deposit(-1))])
        stats = await system.system_stats()
        assert (stats.query_actors_count, stats.total_commands_processed, stats.commands_refused) == (0, 3, 1)
        assert (stats.commands_failed, stats.conflicts, stats.actor_restarts) == (0, 0, 0)
        assert stats.uptime_seconds > 0
        assert await system.aggregate_stats("a") == Ok(AggregateStats("a", 2, 2, has_snapshot=False))
