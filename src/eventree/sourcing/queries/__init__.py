"""Queries: read models fed from the log, each by a supervised actor of its own.

- `subscriptions`: what users write, `Query` and `Projection`, with their `options`.
- `state`: decides what a query does next (`actions`), purely; failure policies, leases, pauses, versions are here.
- `worker`: carries the actions out on a store, and reports their outcomes to the state.
- `at_least_once`, `exactly_once`: the two ways of `delivery` to a user's function.
- `calls`: calls users' functions, with a limit on their time.
- `batches`: how many events a projection's transaction handles.
- `actor`: the worker's mailbox: messages, waiting callers, timers.
- `handle`: observes and controls a query from outside: through the actor, or `remote`: through the store.
- `controls`: what it can be asked to do.
- `failure_log`: what the log says of failures.
- `commits`, `decoding`, `context`, `status`: values and helpers of the above.
"""

from eventree.sourcing.queries.context import (
    QueryContext as QueryContext,
    query_context as query_context,
)
from eventree.sourcing.queries.controls import (
    RetriedParked as RetriedParked,
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
