"""The actor runtime: actors, references and supervisors, independent of event sourcing.

An actor (`actor/`) handles one message at a time, in its own task:

- `Actor`: subclass it and override `receive`; `ActorContext` tells it about itself.
- `ActorRef`: `tell`, `send`, `ask` and `monitor` an actor; it stays valid while the actor restarts.
- `MailboxSpec`: how many messages may wait, and what happens when there are more.
- `Reject`, `StopActor`, `Ignore`: what an actor raises to refuse a message, to stop, or not to start.
- `Request`: a message with its answer, for actors that override `receive_batch`.

A supervisor (`supervision/`) starts, restarts and stops children by the rules of Erlang/OTP:

- `ChildSpec`: describes a child; `Restart` says when it is restarted, `shutdown` how long it may take to stop.
- `Supervisor` and `DynamicSupervisor`: a fixed list of children, or children that come and go; `Strategy` says which
  siblings restart together, `AutoShutdown` whether the supervisor ends with its children.
- `run`: a supervisor as a whole program, until SIGINT or SIGTERM.
- `SupervisorEvent` and its kinds: what `on_event` gets; `ChildInfo`, `ChildCounts`: what a supervisor reports.
"""

from eventree.actors.actor.actor import (
    Actor as Actor,
    ActorContext as ActorContext,
    Ignore as Ignore,
    Reject as Reject,
    StopActor as StopActor,
)
from eventree.actors.actor.mailbox import (
    MailboxSpec as MailboxSpec,
)
from eventree.actors.actor.monitor import (
    Down as Down,
    Monitor as Monitor,
    MonitorEvent as MonitorEvent,
    Restarted as Restarted,
)
from eventree.actors.actor.ref import (
    ActorRef as ActorRef,
)
from eventree.actors.actor.request import (
    Request as Request,
)
from eventree.actors.events import (
    AskAbandoned as AskAbandoned,
    ChildAbandoned as ChildAbandoned,
    ChildEnded as ChildEnded,
    ChildStarted as ChildStarted,
    DeadLetter as DeadLetter,
    SupervisorEvent as SupervisorEvent,
    SupervisorGaveUp as SupervisorGaveUp,
    report_restarts as report_restarts,
)
from eventree.actors.exits import (
    ExitKind as ExitKind,
    ExitReason as ExitReason,
)
from eventree.actors.status import (
    ActorInfo as ActorInfo,
    ChildInfo as ChildInfo,
    Status as Status,
)
from eventree.actors.supervision.diagram import (
    ChildCounts as ChildCounts,
)
from eventree.actors.supervision.dynamic import (
    DynamicSupervisor as DynamicSupervisor,
)
from eventree.actors.supervision.options import (
    AutoShutdown as AutoShutdown,
    Restart as Restart,
    Strategy as Strategy,
)
from eventree.actors.supervision.run import (
    run as run,
)
from eventree.actors.supervision.spec import (
    BRUTAL_KILL as BRUTAL_KILL,
    ChildSpec as ChildSpec,
)
from eventree.actors.supervision.supervisor import (
    Supervisor as Supervisor,
)
