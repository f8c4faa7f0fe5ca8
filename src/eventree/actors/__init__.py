"""The actor runtime: actors, references and supervisors, independent of event sourcing."""

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
