"""How much a mailbox holds, and what becomes of the rest."""

from dataclasses import dataclass
from typing import Literal

from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_count


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSpec:
    """Say how many messages may wait for an actor, and what becomes of those that cannot.

    Attributes:
        maxsize: How many messages wait at most; default 1,000.
        overflow: What `tell` and `ask_nowait` do when there is no room. `"raise"`: `MailboxFull`, the default.
            `"drop_new"`: the message is dropped. `"drop_old"`: the oldest one is. Whoever waits for the answer to a
            dropped message gets `MailboxFull`; a message that nobody waits for is a dead letter. `send` and `ask` wait
            for room with `"raise"` only.
        on_restart: What becomes of waiting messages when the actor crashed: `"keep"`, the default, or `"discard"`,
            which answers them with `ActorStopped`.
        dead_letters: Whether messages are reported that nobody waits for and that are lost; default yes. No for mere
            hints.
    """

    maxsize: int = 1_000
    overflow: Literal["raise", "drop_new", "drop_old"] = "raise"
    on_restart: Literal["keep", "discard"] = "keep"
    dead_letters: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no mailbox."""
        check_count("maxsize", self.maxsize)
        if self.overflow not in {"raise", "drop_new", "drop_old"}:
            raise InvalidArgument("overflow", f"must be 'raise', 'drop_new' or 'drop_old', got {self.overflow!r}")
        if self.on_restart not in {"keep", "discard"}:
            raise InvalidArgument("on_restart", f"must be 'keep' or 'discard', got {self.on_restart!r}")
