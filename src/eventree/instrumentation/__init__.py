"""The seam for tracing and metrics, and the context that travels with messages."""

from eventree.instrumentation.context import (
    Carried as Carried,
    MessageContext as MessageContext,
)
from eventree.instrumentation.protocol import (
    ActorRestart as ActorRestart,
    BatchCommit as BatchCommit,
    CommandExecution as CommandExecution,
    CommandOutcome as CommandOutcome,
    DeliveredCommit as DeliveredCommit,
    Instrumentation as Instrumentation,
    QueryDelivery as QueryDelivery,
)
