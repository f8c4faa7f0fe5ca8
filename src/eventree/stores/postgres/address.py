"""The address of the database: parse its DSN, keep its secrets out of messages, and require a secure connection."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from eventree.errors import InvalidArgument

_LABEL = "[A-Za-z0-9_-]{1,63}"
_PLACE: Final = re.compile(  # a folder, a name or address, or an IPv6 address; and a port
    rf"(?P<host>/[^,:]*|{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{0,5}}))?"
)
_PORT: Final = re.compile("[0-9]{1,5}")
_NO_PORT = 2**16


@dataclass(frozen=True, slots=True)
class Address:
    """Hold a DSN without revealing its secrets.

    Attributes:
        dsn: The whole DSN, for the driver only; never shown.
        where: Hosts and database, for messages.
        options: The names of its options.
    """

    dsn: str = field(repr=False)
    where: str
    options: frozenset[str] = frozenset()

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
        raise InvalidArgument("dsn", "must be a str that starts with postgresql://")
    try:
        parts = urlsplit(dsn)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InvalidArgument("dsn", "is not a valid URL") from None
    # If special characters ended a password early, the rest would be taken for a host or a database, and be shown.
    if "#" in dsn or "\0" in unquote(dsn) or dsn.count("@") > min(parts.netloc.count("@"), 1):
        raise InvalidArgument("dsn", "must have @ : / ? # [ ] in a user or a password percent-encoded, as %40 for @")
    places = _places(parts.netloc.rpartition("@")[2], options)
    shown = ",".join(place.string for place in places)
    # A service file is not read here; it takes precedence over PGSSLMODE.
    usual = "prefer" if "service" in options else os.environ.get("PGSSLMODE") or "prefer"
    mode = options.get("sslmode", usual)
    is_local = "service" not in options and all(_is_local(place["host"]) for place in places)
    if require_tls and not is_local and mode != "verify-full":
        raise InvalidArgument(
            "dsn",
            f"names a server on another machine ({shown or 'of a service file'}) with sslmode={mode}, which does not "
            "verify who answers; add sslmode=verify-full, or pass require_tls=False if the network is trusted",
        )
    return Address(dsn, f"postgresql://{shown or 'local'}/{parts.path.lstrip('/')}", frozenset(options))


def _places(network: str, options: Mapping[str, str]) -> list[re.Match[str]]:
    """Return the hosts that the driver will use, each with an optional port; none for the sockets of this machine.

    The driver splits hosts before it decodes them. Here only a socket directory, which must be encoded, is decoded; any
    other `%` is refused.
    """
    named = network or options.get("host") or os.environ.get("PGHOST") or ""
    texts = named.split(",") if named else []
    if network:
        texts = [unquote(text) if text.lower().startswith("%2f") else text for text in texts]
    found = [match for text in texts if (match := _PLACE.fullmatch(text))]
    ports = [match["port"] for match in found if match["port"]]
    ports += options["port"].split(",") if "port" in options else []
    if len(found) < len(texts) or not all(_PORT.fullmatch(port) and int(port) < _NO_PORT for port in ports):
        raise InvalidArgument("dsn", "has an invalid host or port (check PGHOST too)")
    return found


def _is_local(host: str) -> bool:
    """Return whether a host is this machine: a socket directory, or loopback."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
