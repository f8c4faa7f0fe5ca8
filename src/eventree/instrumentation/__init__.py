"""The seam for tracing and metrics, and the context that travels with messages."""

from eventree.instrumentation.context import Carried, MessageContext
from eventree.instrumentation.protocol import (
    ActorRestart,
    BatchCommit,
    CommandExecution,
    CommandOutcome,
    DeliveredCommit,
    Instrumentation,
    QueryDelivery,
)

__all__ = [
    "ActorRestart",
    "BatchCommit",
    "Carried",
    "CommandExecution",
    "CommandOutcome",
    "DeliveredCommit",
    "Instrumentation",
    "MessageContext",
    "QueryDelivery",
]
