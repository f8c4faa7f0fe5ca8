"""Queries: read models fed from the log, each by a supervised actor of its own."""

from eventree.sourcing.queries.context import QueryContext, query_context
from eventree.sourcing.queries.handle import QueryHandle, QueryProgress
from eventree.sourcing.queries.options import QueryOptions
from eventree.sourcing.queries.progress import QueryStats, QueryStatus
from eventree.sourcing.queries.projection import Projection
from eventree.sourcing.queries.query import Query
from eventree.sourcing.queries.subscription import Subscription

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
