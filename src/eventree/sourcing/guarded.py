"""Check the instrumentation that a user gives."""

from eventree.errors import InvalidArgument
from eventree.instrumentation import Instrumentation
from eventree.instrumentation.guard import GuardedInstrumentation


def guarded(instrumentation: Instrumentation | None) -> GuardedInstrumentation | None:
    """Return an instrumentation whose faults harm nothing; None for none.

    Raises:
        InvalidArgument: It has not all methods.
    """
    if instrumentation is None:
        return None
    if not isinstance(instrumentation, Instrumentation):
        raise InvalidArgument(
            "instrumentation", f"must be derived from Instrumentation, got {type(instrumentation).__name__}"
        )
    return GuardedInstrumentation.of(instrumentation)
