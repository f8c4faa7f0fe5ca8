"""Where aggregates, actors and stores meet: the command path, the queries and the system."""

from eventree.sourcing.queries import Query, QueryHandle, QueryStatus
from eventree.sourcing.statistics import AggregateStats, SystemStats
from eventree.sourcing.system import EventSourcing

__all__ = ["AggregateStats", "EventSourcing", "Query", "QueryHandle", "QueryStatus", "SystemStats"]
