"""Show errors whose own classes fail: a log that shows one calls its methods, and they may raise anything."""

from traceback import TracebackException

from eventree.errors.failures import is_failure


def loggable(error: BaseException | None) -> BaseException | None:
    """Return an error that a log can show with its traceback: the same one if it can be shown, else a stand-in."""
    if error is None:
        return None
    try:
        list(TracebackException.from_exception(error).format())
    except BaseException as bug:  # a bug in the error's own class must not become a second failure
        if not is_failure(bug):
            raise
        return _stand_in(error)
    return error


def traceback_of(error: BaseException) -> TracebackException:
    """Return the traceback of an error, or that of a stand-in if its class fails."""
    try:
        return TracebackException.from_exception(error)
    except BaseException as bug:  # as above
        if not is_failure(bug):
            raise
        return TracebackException.from_exception(_stand_in(error))


def _stand_in(error: BaseException) -> BaseException:
    """Return an error with the same class name and traceback, without the attributes and causes."""
    cls = type(error)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    plain: type[Exception] = type(cls.__name__, (Exception,), names)
    return plain("its class, or that of its cause, fails when it is shown").with_traceback(error.__traceback__)
