"""What a person can do about a query: skip what fails, try or drop what is parked, begin anew."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eventree.errors import InvalidArgument, LogRolledBack, QueryLeasedElsewhere
from eventree.sourcing.queries.commits import GivenUp, HandlingFailed, Key, StoredCommit, commits_of, key_of, reason_of
from eventree.sourcing.queries.functions import TURN
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.target import Target
from eventree.stores.contract import EventStore, ParkedCommit


@dataclass(slots=True)
class Retry:
    """A walk through what is parked.

    Attributes:
        aggregate_id: Only those of this aggregate; None for all.
        after: Up to this position all were looked at.
        worked: How many worked.
        failed: Aggregates of which one failed again, so that the later ones have to wait.
    """

    aggregate_id: str | None
    after: int = 0
    worked: int = 0
    failed: set[Key] = field(default_factory=set[Key])


class Controls:
    """Carry out what a person wants of a query whose checkpoint is held."""

    def __init__(self, options: Options, store: EventStore, target: Target, hold: Hold) -> None:
        """Remember whom it is about."""
        self._options = options
        self._store = store
        self._target = target
        self._hold = hold

    def skip(self, position: int, failing: StoredCommit | None) -> None:
        """Give the failing commit up, if it is the one that is meant.

        Raises:
            InvalidArgument: Another one fails, or none.
        """
        stands = "nothing fails now" if failing is None else f"it fails at position {failing.position}"
        if failing is None or failing.position != position:
            raise InvalidArgument("expected_position", f"is {position}, but {stands}; look again before you skip")
        self._hold.given_up[position] = GivenUp("skipped by hand", park=False)

    async def reset(self) -> None:
        """Begin anew where the query began, or at the beginning of the log if it began at its end."""
        await self._hold.save()  # so that a reset whose answer is lost can be told from none
        parked: list[ParkedCommit] = []
        while page := await self._parked(after=parked[-1].position if parked else 0):
            parked += page
        position = min(self._options.start or 0, self._hold.position)
        move = self._hold.back_to(position, parked, await self._store.head())
        await self._target.reset(self._hold, move)

    async def retry(self, job: Retry) -> bool:
        """Try parked commits again, in order, for one turn; return whether all were tried that can be."""
        clock = asyncio.get_running_loop().time
        over = clock() + TURN
        while page := await self._parked(after=job.after, limit=100):
            for parked in page:
                key = key_of(parked)
                if job.aggregate_id in {None, parked.aggregate_id} and key not in job.failed:
                    if await self._retry(parked):
                        job.worked += 1
                    else:
                        job.failed.add(key)
                job.after = parked.position
                if clock() >= over:
                    return False
        return True

    async def drop(self, position: int) -> None:
        """Forget a parked commit.

        Raises:
            InvalidArgument: None is parked at this position.
        """
        if not await self._is_parked(position):
            raise InvalidArgument("position", f"no commit is parked at {position}; parked() lists them")
        await self._hold.store(self._hold.still(unpark=[position]))

    async def _retry(self, parked: ParkedCommit) -> bool:
        try:
            await self._target.hand_over_parked(await self._read(parked), parked, self._hold)
        except HandlingFailed as failure:
            if not await self._hold.take(self._target.claim):
                raise QueryLeasedElsewhere(self._options.name) from failure
            if not await self._is_parked(parked.position):  # it took place after all
                return True
            again = replace(parked, reason=reason_of(failure.error))
            await self._hold.store(self._hold.still(park=[again]))
            return False
        return True

    async def _is_parked(self, position: int) -> bool:
        return any(parked.position == position for parked in await self._parked(after=position - 1, limit=1))

    async def _read(self, parked: ParkedCommit) -> StoredCommit:
        page = await self._store.read(parked.position - 1, parked.last_position - parked.position + 1)
        if page.position < parked.last_position:
            raise LogRolledBack(f"query {self._options.name!r}", parked.last_position, page.position)
        return commits_of(page.events)[0]

    async def _parked(self, after: int, limit: int = 1_000) -> Sequence[ParkedCommit]:
        return await self._store.load_parked(*self._hold.key, after=after, limit=limit)
