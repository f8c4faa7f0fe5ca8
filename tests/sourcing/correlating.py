"""Systems that trigger each other, and what their events say about who caused what."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from eventree import AggregateType, EventEnvelope, EventSourcing, EventStore
from sourcing.ledger import Added, Ledger, LedgerSystem, LedgerType, add, apply, handle
from sourcing.reading import Events, query

Handler = Callable[[str, Events], Awaitable[None] | None]


def ledger_called(name: str) -> LedgerType:
    return AggregateType(name, handle=handle, apply=apply, empty_state=Ledger)


def triggering(system: LedgerSystem) -> Handler:
    """Return a handler that executes a command of the same id on a system."""

    async def react(id: str, events: Events) -> None:
        (await system.execute(id, add(events[0].payload.amount + 1))).unwrap()

    return react


@asynccontextmanager
async def chain(store: EventStore, *names: str) -> AsyncIterator[list[LedgerSystem]]:
    """Run systems, each of which reacts to the one before."""
    systems: list[LedgerSystem] = []
    async with AsyncExitStack() as stack:
        for name in reversed(names):
            queries = [query(f"after {name}", triggering(systems[0]))] if systems else []
            system = EventSourcing(ledger_called(name), store, queries=queries)
            systems.insert(0, await stack.enter_async_context(system))
        yield systems


async def all_caught_up(systems: list[LedgerSystem], names: list[str]) -> None:
    """Wait for a chain to come to its end."""
    for system, name in zip(systems, names[:-1], strict=False):
        await system.query(f"after {name}").caught_up()


async def only_event(system: LedgerSystem, id: str) -> EventEnvelope[Added]:
    [event] = (await system.load_events(id)).unwrap()
    return event


async def metadata(system: LedgerSystem, id: str) -> list[Mapping[str, str]]:
    return [event.metadata for event in (await system.load_events(id)).unwrap()]


def caused_by(event: EventEnvelope[Added]) -> Mapping[str, str]:
    """Return the metadata of what a query does about an event that is the beginning of all."""
    return {"correlation_id": str(event.commit_id), "causation_id": str(event.commit_id)}
