"""Queries: read models fed from the log, each by a supervised actor of its own."""

from eventree.sourcing.queries.context import (
    QueryContext as QueryContext,
    query_context as query_context,
)
from eventree.sourcing.queries.handle import (
    QueryHandle as QueryHandle,
)
from eventree.sourcing.queries.options import (
    QueryOptions as QueryOptions,
)
from eventree.sourcing.queries.status import (
    QueryProgress as QueryProgress,
    QueryStats as QueryStats,
    QueryStatus as QueryStatus,
)
from eventree.sourcing.queries.subscriptions import (
    Projection as Projection,
    Query as Query,
    Subscription as Subscription,
)
