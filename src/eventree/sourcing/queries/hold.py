"""A query's checkpoint in the hands of one worker: got by a lease, moved, kept, given back."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress

from eventree.errors import CheckpointHeld, EventStoreError
from eventree.sourcing.queries.commits import GivenUp, Key, Triage, keys_of
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.progress import Progress
from eventree.sourcing.queries.worker import is_dead
from eventree.stores.contract import Checkpoint, Claim, EventStore, Move, ParkedCommit, StoredCheckpoint

SAVE_WITHIN = 0.1
"""Seconds after which what was handled is stored, so that a crash repeats little."""

SAVE_AFTER = 500
"""Positions after which it is."""


class Hold:
    """Know where a query stands, and write that down.

    Attributes:
        key: The name and the version of the query.
        position: Everything up to here was handled, parked or skipped; the stored checkpoint may be behind.
        given_up: What to do with commits that are not to be handed over any more, by position.
        narrow_until: Up to here commits are handed over one by one, as one of them is to blame for a failure.
    """

    def __init__(self, options: Options, store: EventStore, progress: Progress, worker: str) -> None:
        """Hold nothing yet.

        Args:
            options: Of the query.
            store: Keeps the checkpoint.
            progress: Where to show how far it is.
            worker: Who claims it; the same for all incarnations.
        """
        self.key = (options.name, options.version)
        self.position = 0
        self.given_up: dict[int, GivenUp] = {}
        self.narrow_until = 0
        self._options = options
        self._store = store
        self._progress = progress
        self._worker = worker
        self._saved: Checkpoint | None = None
        self._stored: StoredCheckpoint | None = None
        self._blocked: set[Key] = set()
        self._claim_at = 0.0
        self._renew_at = 0.0
        self._save_at: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether this worker is the one."""
        return self._saved is not None

    @property
    def fence(self) -> int:
        """What allows this worker to move the checkpoint."""
        return self._saved.fence if self._saved is not None else 0

    @property
    def is_live(self) -> bool:
        """Whether the results of this version count."""
        return self._stored is not None and self._stored.live_version == self.key[1]

    @property
    def live_version(self) -> int:
        """The version whose results count."""
        return self._stored.live_version if self._stored is not None else 0

    @property
    def live_position(self) -> int:
        """Where that one stands, as far as this worker knows."""
        return self._stored.live_position if self._stored is not None else 0

    @property
    def save_at(self) -> float | None:
        """When the checkpoint should be stored, on the loop's clock; None if nothing was handled since it was."""
        return self._save_at

    @property
    def replay_until(self) -> int:
        """Up to where events were handled before, by another version or before a reset."""
        if self._stored is None:
            return 0
        return self._stored.replay_until if self.is_live else max(self._stored.replay_until, self.live_position)

    async def take(self, claim: Callable[[Claim], Awaitable[Checkpoint]]) -> bool:
        """Claim the checkpoint if it is not held yet and nobody else works on it; return whether it is held.

        Raises:
            CheckpointHeld: Somebody else works on it, and it is not time to ask again.
        """
        if self._saved is not None:
            return True
        now, lease = _now(), self._options.lease
        if now >= self._claim_at:
            try:
                self._saved = await claim(Claim(self._worker, lease, self._options.start))
            except CheckpointHeld as held:
                self._claim_at = now + min(held.seconds, lease / 3)
                if is_dead(held.owner):  # its process cannot speak up any more
                    await self._store.claim_checkpoint(*self.key, Claim(held.owner))
                    self._claim_at = now
        await self.refresh()
        if self._saved is None:
            return False
        self.position = self._progress.position = self._saved.position
        self.narrow_until = 0
        self._save_at = None
        self._renew_at = now + lease / 3
        return True

    async def refresh(self) -> None:
        """Look at what is stored: how far others are, and what is parked."""
        self._stored = await self._store.load_checkpoint(*self.key)
        if self._stored is None:
            return
        if self._saved is None:
            self._progress.position = self._stored.checkpoint.position
        self._progress.is_live = self.is_live
        self._progress.parked = self._stored.parked
        parked = await self._store.load_parked(*self.key, limit=self._options.max_parked) if self._stored.parked else ()
        self._blocked = keys_of(parked)

    def drop(self) -> None:
        """Forget the hold: it is somebody else's, or nobody knows what became of it."""
        self._saved = None

    def triage(self) -> Triage:
        """Return a judge of commits."""
        return Triage(self._blocked, self.given_up, max(self._options.max_parked - self._progress.parked, 0))

    def move(self, position: int, triage: Triage | None = None) -> Move:
        """Return what to store when everything up to a position is dealt with."""
        checkpoint = Checkpoint(position, self.fence)
        if triage is None:
            return Move(checkpoint, self._options.lease)
        return Move(checkpoint, self._options.lease, park=triage.park, skipped=triage.skipped)

    def moved(self, move: Move) -> None:
        """Note that a move was stored."""
        position = move.checkpoint.position
        self._saved = move.checkpoint
        self.position = self._progress.position = position
        self._save_at = None
        self._blocked |= keys_of(move.park)
        self._progress.parked += len(move.park)
        self._progress.skipped += move.skipped
        self.given_up = {at: given_up for at, given_up in self.given_up.items() if at > position}
        self._renew_at = _now() + self._options.lease / 3

    def pass_to(self, position: int, *, handled: bool) -> None:
        """Note how far the query is; what was handled has to be stored soon, what was only passed by need not be."""
        self.position = position
        if handled and self._save_at is None:
            self._save_at = _now() + SAVE_WITHIN
        if self._saved is not None and position - self._saved.position >= SAVE_AFTER and self._save_at is not None:
            self._save_at = 0.0
        if self._save_at is None:
            self._progress.position = position

    def back_to(self, position: int, parked: Sequence[ParkedCommit]) -> Move:
        """Return what to store to begin anew after a position, with nothing parked."""
        return Move(
            Checkpoint(position, self.fence),
            self._options.lease,
            unpark=[commit.position for commit in parked],
            replay_until=max(self.position, self.replay_until),
        )

    async def save(self, triage: Triage | None = None) -> None:
        """Store where the query stands."""
        await self.store(self.move(self.position, triage))

    async def store(self, move: Move) -> None:
        """Store a move, and note it."""
        await self._store.save_checkpoint(*self.key, move)
        self.moved(move)

    async def renew(self) -> None:
        """Let others know that this one is at work, when it is time to."""
        if self._saved is not None and _now() >= self._renew_at:
            await self.save()

    @contextmanager
    def renewing(self) -> Generator[None, None, None]:
        """Keep the lease while something takes long."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        timer = loop.call_later(self._options.lease / 3, lambda: tasks.append(loop.create_task(self._keep())))
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()  # one that comes late does no harm, as it moves nothing

    async def _keep(self) -> None:
        while self._saved is not None:
            with suppress(EventStoreError):  # whoever moves the checkpoint next is told
                await self._store.renew_checkpoint(*self.key, self.fence, self._options.lease)
            await asyncio.sleep(self._options.lease / 3)

    async def release(self) -> None:
        """Store where the query stands, and let others take over at once."""
        if self._saved is not None:
            with suppress(EventStoreError):
                if self._saved.position != self.position:
                    await self.save()
                await self._store.renew_checkpoint(*self.key, self.fence, 0)


def _now() -> float:
    return asyncio.get_running_loop().time()
