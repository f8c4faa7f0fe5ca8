"""The address of the database: what of its DSN may be shown, and whether the connection is secure."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from eventree.errors import InvalidArgument

_LABEL = "[A-Za-z0-9_-]{1,63}"
_PLACE: Final = re.compile(
    rf"(?:/[^,:]*|{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[^:]*))?"  # a folder, a name, or IPv6
)
_PORT: Final = re.compile(r"[0-9]{1,5}")
_NO_PORT = 2**16


@dataclass(frozen=True, slots=True)
class Address:
    """A DSN that does not reveal its secrets.

    Attributes:
        dsn: The whole DSN, for the driver only; never shown.
        where: Hosts and database, for messages.
    """

    dsn: str = field(repr=False)
    where: str

    def __str__(self) -> str:
        return self.where


def parse(dsn: str, *, require_tls: bool) -> Address:
    """Parse a DSN.

    Args:
        dsn: `postgresql://user:password@host:port/database?sslmode=verify-full`, all parts optional, as for libpq.
        require_tls: Whether to refuse a server on another machine without a verified identity. The driver's default,
            `sslmode=prefer`, verifies nothing and may even fall back to plain text.

    Raises:
        InvalidArgument: It is invalid, or does not verify the server. The message does not contain the DSN.
    """
    if not isinstance(dsn, str) or not dsn.startswith(("postgresql://", "postgres://")):
        raise InvalidArgument("dsn", "must be a text that begins with postgresql://")
    try:
        parts = urlsplit(dsn)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InvalidArgument("dsn", "is not a valid URL") from None
    # If a password ended too early, the rest of it would be taken for a host or a database, and shown.
    if "#" in dsn or "\0" in unquote(dsn) or dsn.count("@") > min(parts.netloc.count("@"), 1):
        raise InvalidArgument("dsn", "must have @ : / ? # [ ] in a user or a password percent-encoded, as %40 for @")
    places = _places(parts.netloc.rpartition("@")[2], options)
    shown = ",".join(places)
    mode = _sslmode(options)
    is_local = "service" not in options and all(_is_local(place) for place in places)
    if require_tls and not is_local and mode != "verify-full":
        raise InvalidArgument(
            "dsn",
            f"names a server on another machine ({shown or 'of a service file'}) with sslmode={mode}, which does not "
            "verify who answers; add sslmode=verify-full, or pass require_tls=False if the network is trusted",
        )
    return Address(dsn, f"postgresql://{shown or 'local'}/{parts.path.lstrip('/')}")


def _places(network: str, options: Mapping[str, str]) -> list[str]:
    """Return the hosts that the driver will use, each with an optional port; none for the sockets of this machine.

    The driver splits hosts before it decodes them. Here only a socket directory, which must be encoded, is decoded; any
    other `%` is refused.
    """
    if network:
        places = [unquote(place) if place.lower().startswith("%2f") else place for place in network.split(",")]
    else:
        places = (options.get("host") or os.environ.get("PGHOST") or "").split(",")
    if places == [""]:
        places = []
    found = [_PLACE.fullmatch(place) for place in places]
    ports = [match["port"] for match in found if match and match["port"]]
    ports += options["port"].split(",") if "port" in options else []
    if not all(found) or not all(_PORT.fullmatch(port) and int(port) < _NO_PORT for port in ports):
        raise InvalidArgument("dsn", "has an invalid host or port (check PGHOST too)")
    return places


def _sslmode(options: Mapping[str, str]) -> str:
    """Return the sslmode in effect; a service file, which is not read here, takes precedence over PGSSLMODE."""
    usual = "prefer" if "service" in options else os.environ.get("PGSSLMODE") or "prefer"
    return options.get("sslmode", usual)


def _is_local(place: str) -> bool:
    """Return whether a host, with an optional port, is this machine: a socket directory, or loopback."""
    if place.startswith("/"):
        return True
    host = place[1 : place.index("]")] if place.startswith("[") else place.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
