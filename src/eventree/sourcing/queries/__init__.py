"""Queries: read models fed from the log, each by a supervised actor of its own."""

from eventree.sourcing.queries.context import QueryContext, query_context
from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.options import QueryOptions
from eventree.sourcing.queries.status import QueryProgress, QueryStats, QueryStatus
from eventree.sourcing.queries.subscriptions import Projection, Query, Subscription

__all__ = [
    "Projection",
    "Query",
    "QueryContext",
    "QueryHandle",
    "QueryOptions",
    "QueryProgress",
    "QueryStats",
    "QueryStatus",
    "Subscription",
    "query_context",
]
