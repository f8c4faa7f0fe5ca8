"""Validate the instrumentation passed in by a user."""

from eventree.errors import InvalidArgument
from eventree.instrumentation import Instrumentation
from eventree.instrumentation.guard import GuardedInstrumentation


def guarded(instrumentation: Instrumentation | None) -> GuardedInstrumentation | None:
    """Validate an instrumentation and wrap it so that its errors are only logged; return None for None.

    Raises:
        InvalidArgument: It lacks a method.
    """
    if instrumentation is None:
        return None
    if isinstance(instrumentation, type) or not isinstance(instrumentation, Instrumentation):
        raise InvalidArgument("instrumentation", f"must have the methods of Instrumentation, got {instrumentation!r}")
    return GuardedInstrumentation.of(instrumentation)
