"""Where the database is: what may be shown of its DSN, and whether the way there is safe."""

import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from eventree.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Address:
    """Hold a DSN and keep its secrets.

    Attributes:
        dsn: The whole, for the driver only; never shown.
        where: Hosts and database, for people.
    """

    dsn: str = field(repr=False)
    where: str

    def __str__(self) -> str:
        return self.where


def parse(dsn: str, *, require_tls: bool) -> Address:
    """Return the address in a DSN.

    Args:
        dsn: `postgresql://user:password@host:port/database?sslmode=verify-full`, all parts optional, as for libpq.
        require_tls: Whether to refuse a server on another machine that need not prove who it is. The driver's own
            default, `sslmode=prefer`, proves nothing and may even fall back to plain text.

    Raises:
        InvalidArgument: It is no such text, or the server need not prove who it is. The DSN is not shown.
    """
    if not isinstance(dsn, str) or not dsn.startswith(("postgresql://", "postgres://")):
        raise InvalidArgument("dsn", "must be a text that begins with postgresql://")
    try:
        parts = urlsplit(dsn)
        options = parse_qs(parts.query)
    except ValueError:
        raise InvalidArgument("dsn", "is not a valid URL") from None
    network = parts.netloc.rpartition("@")[2]
    places = unquote(",".join(options.get("host", [])) or network or os.environ.get("PGHOST", ""))
    mode = options.get("sslmode", [os.environ.get("PGSSLMODE", "prefer")])[-1]
    is_local = "service" not in options and all(_is_local(place) for place in places.split(","))
    if require_tls and not is_local and mode != "verify-full":
        raise InvalidArgument(
            "dsn",
            f"names a server on another machine ({places or 'of a service file'}) with sslmode={mode}, which does not "
            "verify who answers; add sslmode=verify-full, or give require_tls=False if the network is trusted",
        )
    return Address(dsn, f"postgresql://{places or 'local'}/{parts.path.lstrip('/')}")


def _is_local(place: str) -> bool:
    """Tell whether a host, maybe with a port, is this machine: nothing, a socket's folder, or loopback."""
    if not place or place.startswith("/"):
        return True
    host = place[1 : place.index("]")] if place.startswith("[") and "]" in place else place
    if host.count(":") == 1:
        host = host.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
