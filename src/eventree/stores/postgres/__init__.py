"""The Postgres store, accessed through asyncpg."""

try:
    import asyncpg as _asyncpg  # noqa: F401 # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]
except ModuleNotFoundError as error:
    raise ImportError("PostgresStore needs asyncpg; install it with: pip install 'eventree[postgres]'") from error

from eventree.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
