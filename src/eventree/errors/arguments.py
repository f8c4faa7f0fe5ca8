"""Argument checks shared by several packages."""

from eventree.errors.root import NonPositiveArgument


def check_positive(name: str, value: float) -> None:
    """Raise `NonPositiveArgument` unless the value is a number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise NonPositiveArgument(name, value)


def check_count(name: str, value: int) -> None:
    """Raise `NonPositiveArgument` unless the value is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise NonPositiveArgument(name, value)
