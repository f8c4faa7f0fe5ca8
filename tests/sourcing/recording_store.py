"""A store that remembers what it was asked."""

from collections.abc import Sequence

from eventree import MemoryStore
from eventree.stores.contract import AppendRequest, CheckpointUpdate, Outcome, StreamPage, StreamRead


class RecordingStore(MemoryStore):
    """A `MemoryStore` that remembers the arguments of its calls; to be put into a `FailingStore` where it is to fail.

    Attributes:
        appended: The requests of each call of `append`.
        loaded: The reads of each call of `read_streams`.
        moved: The moves of checkpoints that took place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appended: list[Sequence[AppendRequest]] = []
        self.loaded: list[Sequence[StreamRead]] = []
        self.moved: list[CheckpointUpdate] = []

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self.appended.append(requests)
        return await super().append(requests)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        self.loaded.append(reads)
        return await super().read_streams(reads)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, update)
        self.moved.append(update)
