"""What a person can do about a query: skip what fails, try or drop what is parked, begin anew."""

from collections.abc import Sequence
from dataclasses import replace

from eventree.errors import InvalidArgument
from eventree.errors.root import described
from eventree.sourcing.queries.commits import MAX_REASON, GivenUp, HandlingFailed, Key, StoredCommit, commits_of
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.target import Target
from eventree.stores.contract import Checkpoint, EventStore, Move, ParkedCommit


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
        """Begin anew where the query began, or at the beginning of the log."""
        parked: list[ParkedCommit] = []
        while page := await self._parked(after=parked[-1].position if parked else 0):
            parked += page
        await self._target.reset(self._hold, self._options.start or 0, parked)

    async def retry(self, aggregate_id: str | None) -> int:
        """Try parked commits again, in order, an aggregate up to its first failure; return how many worked."""
        worked, position = 0, 0
        failed: set[Key] = set()
        while page := await self._parked(after=position):
            for parked in page:
                key = (parked.aggregate_type, parked.aggregate_id)
                if aggregate_id in {None, parked.aggregate_id} and key not in failed:
                    if await self._retry(parked):
                        worked += 1
                    else:
                        failed.add(key)
            position = page[-1].position
        return worked

    async def drop(self, position: int) -> None:
        """Forget a parked commit.

        Raises:
            InvalidArgument: None is parked at this position.
        """
        if not any(parked.position == position for parked in await self._parked(after=position - 1, limit=1)):
            raise InvalidArgument("position", f"no commit is parked at {position}; parked() lists them")
        await self._hold.store(Move(Checkpoint(self._hold.position, self._hold.fence), unpark=[position]))

    async def _retry(self, parked: ParkedCommit) -> bool:
        try:
            await self._target.hand_over_parked(await self._read(parked), parked, self._hold)
        except HandlingFailed as failure:
            again = replace(parked, reason=reason_of(failure.error))
            await self._hold.store(Move(Checkpoint(self._hold.position, self._hold.fence), park=[again]))
            return False
        return True

    async def _read(self, parked: ParkedCommit) -> StoredCommit:
        page = await self._store.read(parked.position - 1, parked.last_position - parked.position + 1)
        [commit] = commits_of([event for event in page.events if event.position <= parked.last_position])
        return commit

    async def _parked(self, after: int, limit: int = 1_000) -> Sequence[ParkedCommit]:
        return await self._store.load_parked(*self._hold.key, after=after, limit=limit)


def reason_of(error: BaseException) -> str:
    """Return what is kept of an error with what it made a query park."""
    text = described(error).replace("\0", "\\0").encode("utf-8", "replace").decode()
    return text[:MAX_REASON]
