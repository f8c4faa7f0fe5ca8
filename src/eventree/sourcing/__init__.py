"""Aggregates on actors and stores: the command path, queries, and the client of a system."""

from eventree.sourcing.commands.actor import (
    EventSourcingActor as EventSourcingActor,
)
from eventree.sourcing.correlation import (
    Correlation as Correlation,
    correlation as correlation,
    current_correlation as current_correlation,
)
from eventree.sourcing.lifetime import (
    SystemStatus as SystemStatus,
)
from eventree.sourcing.queries import (
    Projection as Projection,
    Query as Query,
    QueryContext as QueryContext,
    QueryHandle as QueryHandle,
    QueryOptions as QueryOptions,
    QueryProgress as QueryProgress,
    QueryStats as QueryStats,
    QueryStatus as QueryStatus,
    RetriedParked as RetriedParked,
    query_context as query_context,
)
from eventree.sourcing.queries.actor import QueryActor as QueryActor
from eventree.sourcing.statistics import (
    AggregateStats as AggregateStats,
    SystemStats as SystemStats,
)
from eventree.sourcing.system import (
    EventSourcing as EventSourcing,
)
