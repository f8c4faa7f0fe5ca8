"""Load aggregates with many events beside the commands of all others."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec import Struct

from eventree.errors import EventreeError
from eventree.errors.stores import LASTING_ERRORS, TRANSIENT_ERRORS
from eventree.sourcing.commands.load import AggregateLoader, CachedAggregate

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

Loaded: TypeAlias = CachedAggregate[StateT] | EventreeError
"""An aggregate, or the error that keeps it from being loaded."""

MAX_LOADS: Final = 16
"""How many aggregates are loaded at a time; the others wait for their turn."""


class Raised(Struct, frozen=True):
    """What a load has raised: it crashes the actor, not the event loop."""

    error: BaseException


class LongLoads(Generic[StateT, CommandT, EventT, ErrorT]):
    """Load aggregates in tasks of their own, one page at a time, each page from another aggregate in turn."""

    def __init__(self, loader: AggregateLoader[StateT, CommandT, EventT, ErrorT]) -> None:
        """Start without any.

        Args:
            loader: Loads the aggregates.
        """
        self._loader = loader
        self._loads: dict[str, asyncio.Task[Loaded[StateT] | Raised]] = {}
        self._places = asyncio.Semaphore(MAX_LOADS)
        self._turn = asyncio.Lock()

    def __contains__(self, id: object) -> bool:
        """Return whether an aggregate is being loaded, or its end was not taken yet."""
        return id in self._loads

    def __len__(self) -> int:
        """Return how many aggregates are being loaded, or wait for that."""
        return len(self._loads)

    def start(self, id: str, aggregate: Loaded[StateT], ended: Callable[[str], None]) -> None:
        """Load the rest of an aggregate.

        Args:
            id: The aggregate, which is not being loaded.
            aggregate: As much of it as is loaded.
            ended: Called with the id when the load has ended, unless it was stopped.
        """
        task = self._loads[id] = asyncio.create_task(self._load(id, aggregate), name=f"load {id!r}")
        task.add_done_callback(partial(self._ended, id, ended))

    def take(self, id: str) -> Loaded[StateT] | None:
        """Forget a load that has ended, and return its result; None if something cancelled it.

        Raises:
            BaseException: What the load has raised; errors of the store that are answers are returned instead.
        """
        task = self._loads.pop(id)
        found = None if task.cancelled() else task.result()
        if isinstance(found, Raised):
            raise found.error
        return found

    async def stop(self) -> None:
        """Stop all loads."""
        loads, self._loads = list(self._loads.values()), {}
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)

    async def _load(self, id: str, aggregate: Loaded[StateT]) -> Loaded[StateT] | Raised:
        try:
            async with self._places:
                return await self._loader.finish(id, aggregate, self._turn)
        except asyncio.CancelledError:
            raise
        except (*LASTING_ERRORS, *TRANSIENT_ERRORS) as error:
            return error
        except BaseException as error:  # noqa: BLE001 - raised in the actor, as every exit of it is for its supervisor
            return Raised(error)

    def _ended(
        self,
        id: str,
        ended: Callable[[str], None],
        task: "asyncio.Task[Loaded[StateT] | Raised]",
    ) -> None:
        if self._loads.get(id) is task:  # it was not stopped
            ended(id)
