"""What a supervisor is told about a child: a value, made before anything runs."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from eventree.actors.actor.actor import Actor
from eventree.actors.actor.mailbox import MailboxSpec
from eventree.actors.actor.ref import ActorRef
from eventree.actors.supervision.options import Restart
from eventree.backoff import Backoff
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_positive
from eventree.values import subscriptable

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)

BRUTAL_KILL: Final = 0.0
"""As `ChildSpec.shutdown`: cancel the child at once, without asking it to stop."""


@subscriptable
@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec(Generic[MessageT_contra, ReplyT_co]):
    """Describe one child of a supervisor.

    Attributes:
        id: Names the child among its siblings.
        start: Makes a new actor for every start, so that a restart means a fresh state; never an actor itself.
        restart: When it is started again; default always.
        shutdown: How long it may take to stop, in seconds, before it is cancelled. Default: 5 for an actor, without
            limit for a supervisor (whose children have limits of their own). `BRUTAL_KILL` cancels at once.
        start_timeout: How long its `init` may take, in seconds; default 30.
        handler_timeout: How long it may work on one message, or batch, in seconds, before it is cancelled and crashes
            with `HandlerTimeout`; default as long as it takes. It ends a wait, not a loop that never awaits: nothing
            but asyncio's debug mode shows what keeps the event loop from all others.
        significant: Whether its end by itself may end its supervisor, by the supervisor's `auto_shutdown`; not for a
            permanent child, which never ends.
        backoff: How long to wait before each restart; default not at all. With it the child's crashes count against
            `max_restarts` of its supervisor until it has run well for `reset_after`, however slowly they come.
        mailbox: How many messages may wait for it; default 1,000.
        ref: The reference it answers to; default a new one. Give one to hold it before the child is started; its own
            mailbox counts then.
    """

    id: Hashable
    start: Callable[[], Actor[MessageT_contra, ReplyT_co]]
    restart: Restart = Restart.PERMANENT
    shutdown: float | None = None
    start_timeout: float = 30.0
    handler_timeout: float | None = None
    significant: bool = False
    backoff: Backoff | None = None
    mailbox: MailboxSpec = field(default_factory=MailboxSpec)
    ref: ActorRef[MessageT_contra, ReplyT_co] | None = None

    def __post_init__(self) -> None:
        """Refuse what could never start or stop."""
        try:
            hash(self.id)
        except TypeError as error:
            raise InvalidArgument("id", f"must be hashable, got {type(self.id).__name__} ({error})") from None
        if not callable(self.start):
            raise InvalidArgument("start", f"must be a function that makes a new actor, got {self.start!r}")
        if self.shutdown is not None and not self.shutdown >= 0:
            raise InvalidArgument("shutdown", f"must be 0 or more seconds, got {self.shutdown!r}")
        check_positive("start_timeout", self.start_timeout)
        if self.handler_timeout is not None:
            check_positive("handler_timeout", self.handler_timeout)
        if not isinstance(self.restart, Restart):
            raise InvalidArgument("restart", f"must be a Restart, got {self.restart!r}")
        if self.significant and self.restart is Restart.PERMANENT:
            raise InvalidArgument("significant", "a permanent child never ends by itself; make it transient")
