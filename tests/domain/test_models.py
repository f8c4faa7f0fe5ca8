"""Models of pydantic are stored like any other class."""

from dataclasses import dataclass
from decimal import Decimal

import pydantic
import pytest

from eventree.domain.codec import Codec
from eventree.errors import EventNotDecodable, EventNotEncodable


def there_and_back(codec: Codec[object], value: object) -> object:
    form = codec.encode(value)
    return codec.decode(form.type, form.version, form.payload)


class Paid(pydantic.BaseModel):
    amount: Decimal
    tags: list[str] = []


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (Paid.model_construct(amount=1, tags=[]), "amount"),
        (Paid.model_construct(amount=Decimal("NaN"), tags=[]), "amount"),
        (Paid.model_construct(amount=Decimal(1), tags=("a",)), "tags"),
        (Paid.model_construct(amount="x", tags=[]), "amount"),
    ],
    ids=str,
)
def test_a_model_that_was_not_validated_is_refused(wrong: Paid, name: str) -> None:
    with pytest.raises(EventNotEncodable) as refused:
        Codec([Paid]).encode(wrong)
    assert refused.value.field == name


def test_a_model_is_stored_like_any_other_class() -> None:
    codec = Codec([Paid])
    paid = Paid(amount=Decimal("1.50"), tags=["a"])
    form = codec.encode(paid)
    assert (form.type, form.payload) == ("Paid", '{"amount":"1.50","tags":["a"]}')
    assert codec.decode("Paid", 1, form.payload) == paid
    with pytest.raises(EventNotDecodable):
        codec.decode("Paid", 1, '{"tags":[]}')


class Shipped(pydantic.BaseModel, extra="forbid"):
    width: int
    tags: pydantic.Json[list[str]]

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


def test_what_a_model_computes_is_not_stored_and_json_inside_of_it_comes_back() -> None:
    @dataclass
    class Parcel:
        content: Shipped

    shipped = Shipped(width=3, tags='["a"]')  # type: ignore[arg-type]
    codec: Codec[object] = Codec([Shipped, Parcel])
    assert codec.encode(shipped).payload == r'{"width":3,"tags":"[\"a\"]"}'
    assert there_and_back(codec, shipped) == shipped
    assert there_and_back(codec, Parcel(shipped)) == Parcel(shipped)
