"""The specification of a child: a value, created before the child runs."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from eventree.actors.actor.actor import Actor
from eventree.actors.actor.mailbox import MailboxSpec
from eventree.actors.actor.ref import ActorRef
from eventree.actors.supervision.options import Restart
from eventree.backoff import Backoff
from eventree.errors import InvalidArgument
from eventree.errors.root import check_positive
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
        id: Identifies the child among its siblings.
        start: Creates a new actor for every start, so that a restart begins with fresh state; a factory, not an actor.
        restart: When the child is restarted; default always.
        shutdown: Seconds it may take to stop before it is cancelled. Default: 5 for an actor, unlimited for a
            supervisor, whose children have their own limits. `BRUTAL_KILL` cancels at once.
        start_timeout: Seconds its `init` may take; default 30.
        handler_timeout: Seconds it may take to handle one message, or batch, before it is cancelled and crashes with
            `HandlerTimeout`; default no limit. It interrupts only code that awaits. A handler that blocks the event
            loop is not interrupted; asyncio's debug mode reports those.
        significant: Whether its exit may shut down its supervisor, depending on the supervisor's `auto_shutdown`;
            default False. Not allowed for a permanent child, which is always restarted.
        backoff: The delay before each restart; default none. With a backoff, its crashes count against the
            supervisor's `max_restarts` until it has run without one for `reset_after`, however far apart they are.
        mailbox: The size and overflow policy of its mailbox; default 1,000 messages.
        ref: Its reference; default a new one. Pass one to use it before the child is started; the reference's own
            mailbox then replaces `mailbox`.
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
        """Validate the spec."""
        try:
            hash(self.id)
        except TypeError as error:
            raise InvalidArgument("id", f"must be hashable, got {type(self.id).__name__} ({error})") from None
        if not callable(self.start):
            raise InvalidArgument("start", f"must be a function that returns a new actor, got {self.start!r}")
        if self.shutdown is not None and not self.shutdown >= 0:
            raise InvalidArgument("shutdown", f"must be 0 or more seconds, got {self.shutdown!r}")
        check_positive("start_timeout", self.start_timeout)
        if self.handler_timeout is not None:
            check_positive("handler_timeout", self.handler_timeout)
        if not isinstance(self.restart, Restart):
            raise InvalidArgument("restart", f"must be a Restart, got {self.restart!r}")
        if self.significant and self.restart is Restart.PERMANENT:
            raise InvalidArgument("significant", "a permanent child is always restarted; make it transient")
