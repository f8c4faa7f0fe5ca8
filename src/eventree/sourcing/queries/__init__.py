"""Queries: read models fed from the log, each by a supervised actor of its own."""

from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.subscription import Query, QueryStatus, Subscription

__all__ = ["Query", "QueryHandle", "QueryStatus", "Subscription"]
