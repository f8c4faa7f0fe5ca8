"""What it costs to turn events into JSON and back, beside bare msgspec, in one run.

Encode includes the check that what is read back is the same. Figures of a shared machine: trust the ratios.

Run: python tests/benchmarks/codec.py [rounds, default 15]
"""

import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from eventree.domain.codec import Codec


@dataclass(frozen=True, slots=True)
class Deposited:
    amount: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    article: str
    price: Decimal
    count: int


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    order_id: UUID
    customer: str
    placed_at: datetime
    lines: tuple[Line, ...]
    note: str | None


class Renamed(msgspec.Struct, frozen=True):
    name: str
    reason: str


EVENTS = (
    Deposited(Decimal("12.50"), Decimal("1000.00")),
    OrderPlaced(
        UUID(int=7),
        "customer-1",
        datetime(2026, 1, 1, tzinfo=UTC),
        tuple(Line(f"article-{number}", Decimal("9.99"), number) for number in range(5)),
        None,
    ),
    Renamed("new", "marriage"),
)


def microseconds(rounds: int, function: Callable[..., object], *args: object) -> float:
    return min(timeit.repeat(lambda: function(*args), number=2_000, repeat=rounds)) / 2_000 * 1e6


def measure(codec: Codec[object], event: object, rounds: int) -> None:
    form = codec.encode(event)
    stored = (form.type, form.version, form.payload)
    bare = microseconds(rounds, msgspec.json.Encoder().encode, event)
    ours = microseconds(rounds, codec.encode, event)
    print(f"{form.type:<12}encode and check: msgspec {bare:5.2f} us, eventree {ours:5.2f} us, {ours / bare:5.2f} times")
    bare = microseconds(rounds, msgspec.json.Decoder(type(event)).decode, form.payload)
    ours = microseconds(rounds, codec.decode, *stored)
    print(f"{form.type:<12}decode:           msgspec {bare:5.2f} us, eventree {ours:5.2f} us, {ours / bare:5.2f} times")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    codec: Codec[object] = Codec([type(event) for event in EVENTS])
    for event in EVENTS:
        measure(codec, event, rounds)


if __name__ == "__main__":
    main()
