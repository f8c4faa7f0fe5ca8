"""Aggregates on actors and stores: the command path, queries, and the client of a system."""

from eventree.sourcing.commands.actor import EventSourcingActor
from eventree.sourcing.correlation import Correlation, correlation, current_correlation
from eventree.sourcing.queries import (
    Projection,
    Query,
    QueryContext,
    QueryHandle,
    QueryOptions,
    QueryProgress,
    QueryStats,
    QueryStatus,
    query_context,
)
from eventree.sourcing.statistics import AggregateStats, SystemStats
from eventree.sourcing.system import EventSourcing

__all__ = [
    "AggregateStats",
    "Correlation",
    "EventSourcing",
    "EventSourcingActor",
    "Projection",
    "Query",
    "QueryContext",
    "QueryHandle",
    "QueryOptions",
    "QueryProgress",
    "QueryStats",
    "QueryStatus",
    "SystemStats",
    "correlation",
    "current_correlation",
    "query_context",
]
