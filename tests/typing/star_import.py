"""Type checkers know the names of a star import: `__all__` is a plain list."""

from typing import assert_type

from eventree import *  # noqa: F403

assert_type(MemoryStore(), MemoryStore)  # noqa: F405
assert_type(Ok(1).value, int)  # noqa: F405
