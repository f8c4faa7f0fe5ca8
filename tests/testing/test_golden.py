"""Golden files find every change of code that would change what was stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bank import AccountOpened, CustomerDepositedCash, CustomerWithdrewCash, bank_account
from eventree import AggregateType, Ok, event_type
from eventree.testing import GoldenFiles


def check(folder: Path, examples: Sequence[object], events: Sequence[type[Any]] = ()) -> None:
    account: AggregateType[int, object, Any, str] = AggregateType(
        "account",
        handle=lambda _, __: Ok([]),
        apply=lambda balance, _: balance,
        empty_state=int,
        events=events or list(dict.fromkeys(type(example) for example in examples)),
    )
    GoldenFiles(account, folder).check(**{f"number_{number}": example for number, example in enumerate(examples)})


@dataclass(frozen=True)
class Paid:
    amount: int


def released(folder: Path) -> None:
    """Let a first release keep its golden files."""
    with pytest.raises(AssertionError, match="was added"):
        check(folder, [Paid(1), Paid(2)])


def test_a_new_example_is_written_and_reported_once(tmp_path: Path) -> None:
    opened = AccountOpened("a")
    deposited = CustomerDepositedCash(Decimal(5), Decimal(5))
    withdrawn = CustomerWithdrewCash(Decimal(1), Decimal(4))
    folder = tmp_path / "golden" / "bank-account"
    with pytest.raises(AssertionError) as failed:
        GoldenFiles(bank_account, folder).check(opened=opened, deposited=deposited, withdrawn=withdrawn)
    assert str(failed.value).splitlines() == [
        f"the golden files in {folder} do not match the code",
        *(
            f"- {line} was added; review it and commit the file"
            for line in (
                'AccountOpened.v1.txt: opened {"account_id":"a"}',
                'CustomerDepositedCash.v1.txt: deposited {"amount":"5","balance":"5"}',
                'CustomerWithdrewCash.v1.txt: withdrawn {"amount":"1","balance":"4"}',
            )
        ),
    ]
    assert (folder / "AccountOpened.v1.txt").read_bytes() == b'opened {"account_id":"a"}\n'
    GoldenFiles(bank_account, folder).check(opened=opened, deposited=deposited, withdrawn=withdrawn)


def test_an_example_may_be_added(tmp_path: Path) -> None:
    released(tmp_path)
    with pytest.raises(AssertionError, match=r'Paid.v1.txt: number_2 {"amount":3} was added'):
        check(tmp_path, [Paid(1), Paid(2), Paid(3)])
    check(tmp_path, [Paid(1), Paid(2), Paid(3)])
    assert (
        tmp_path / "Paid.v1.txt"
    ).read_text() == 'number_0 {"amount":1}\nnumber_1 {"amount":2}\nnumber_2 {"amount":3}\n'


def test_a_class_without_an_example_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="CustomerWithdrewCash: there is no example"):
        GoldenFiles(bank_account, tmp_path).check(
            opened=AccountOpened("a"), deposited=CustomerDepositedCash(Decimal(5), Decimal(5))
        )


def test_a_field_that_is_renamed_without_a_new_version_is_found(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Paid:
        cents: int

    released(tmp_path)
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"Paid.v1.txt, line 1: .*missing required field `cents`"):
            check(tmp_path, [Paid(1), Paid(2)])


def test_a_default_that_is_added_is_fine_and_the_new_form_is_kept_beside_the_old(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Paid:
        amount: int
        note: str | None = None

    released(tmp_path)
    with pytest.raises(AssertionError) as failed:
        check(tmp_path, [Paid(1), Paid(2)])
    assert str(failed.value).count("was added") == 2
    assert "line" not in str(failed.value)
    check(tmp_path, [Paid(1), Paid(2)])


def test_a_default_that_changes_what_was_stored_is_found(tmp_path: Path) -> None:
    def release(default: str) -> type[Any]:
        @dataclass(frozen=True)
        class Paid:
            amount: int
            currency: str = field(default=default)

        return Paid

    released(tmp_path)
    first, second = release("EUR"), release("USD")
    with pytest.raises(AssertionError, match="was added"):
        check(tmp_path, [first(1), first(2)])
    with pytest.raises(AssertionError, match=r"line 1: it is decoded to .*USD.*but the example .number_0. is .*EUR"):
        check(tmp_path, [second(1, "EUR"), second(2, "EUR")])


def test_a_new_version_with_its_upcaster_reads_what_was_stored_before(tmp_path: Path) -> None:
    @event_type(name="Payment", aliases=["Paid"], upcasters={1: lambda payload: {"cents": payload["amount"] * 100}})
    @dataclass(frozen=True)
    class Payment:
        cents: int

    released(tmp_path)
    with pytest.raises(AssertionError, match=r"- Payment.v2.txt: .*\n- Payment.v2.txt: [^\n]*$"):
        check(tmp_path, [Payment(100), Payment(200)])
    check(tmp_path, [Payment(100), Payment(200)])


def test_an_upcaster_that_is_wrong_is_found(tmp_path: Path) -> None:
    @event_type(aliases=["Paid"], upcasters={1: lambda payload: {"cents": payload["amount"] * 10}})
    @dataclass(frozen=True)
    class Payment:
        cents: int

    released(tmp_path)
    with pytest.raises(AssertionError, match=r"Paid.v1.txt, line 2: it is decoded to .*Payment\(cents=20\)"):
        check(tmp_path, [Payment(100), Payment(200)])


def test_a_class_that_is_renamed_without_an_alias_is_found(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Payment:
        amount: int

    released(tmp_path)
    with pytest.raises(AssertionError, match=r"Paid.v1.txt, line 1: .*this code knows Payment"):
        check(tmp_path, [Payment(1), Payment(2)])


def test_every_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Paid:
        cents: int

    released(tmp_path)
    with pytest.raises(AssertionError) as failed:
        check(tmp_path, [Paid(1), Paid(2)])
    assert [line.split(": ")[0] for line in str(failed.value).splitlines()[1:]] == [
        "- Paid.v1.txt, line 1",
        "- Paid.v1.txt, line 2",
    ]


@pytest.mark.parametrize("fold", [0, 1])
def test_an_example_may_be_at_a_time_that_comes_twice_and_hold_any_text(tmp_path: Path, fold: int) -> None:
    @dataclass(frozen=True)
    class Noted:
        text: str
        at: datetime

    noted = Noted("ä\r\n\x85\x1c\u2028\u2029", datetime(2026, 10, 25, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold))
    with pytest.raises(AssertionError, match="was added"):
        check(tmp_path, [noted])
    check(tmp_path, [noted])


def test_nothing_is_written_down_while_something_is_wrong(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Payment:
        amount: int

    released(tmp_path)
    with pytest.raises(AssertionError, match="Payment") as failed:
        check(tmp_path, [Payment(1)])
    assert "was added" not in str(failed.value)
    assert [path.name for path in tmp_path.iterdir()] == ["Paid.v1.txt"]


def test_a_version_without_a_file_is_named(tmp_path: Path) -> None:
    @event_type(upcasters={1: lambda payload: payload})
    @dataclass(frozen=True)
    class Paid:
        amount: int

    with pytest.raises(AssertionError, match=r"Paid version 1: there is no payload in Paid\.v1\.txt"):
        check(tmp_path, [Paid(1)])


def test_a_file_without_a_payload_is_none(tmp_path: Path) -> None:
    @event_type(upcasters={1: lambda payload: payload})
    @dataclass(frozen=True)
    class Paid:
        amount: int

    (tmp_path / "Paid.v1.txt").write_text("\n")
    with pytest.raises(AssertionError, match=r"Paid version 1: there is no payload in Paid\.v1\.txt"):
        check(tmp_path, [Paid(1)])


@pytest.mark.parametrize("end", ["", "\r\n", "\n\n"])
def test_what_an_editor_or_git_makes_of_the_end_of_a_line_does_no_harm(tmp_path: Path, end: str) -> None:
    (tmp_path / "Paid.v1.txt").write_bytes(f'number_0 {{"amount":1}}{end}'.encode())
    check(tmp_path, [Paid(1)])
    with pytest.raises(AssertionError, match="was added"):
        check(tmp_path, [Paid(1), Paid(2)])
    check(tmp_path, [Paid(1), Paid(2)])


def test_an_upcaster_that_makes_one_example_into_another_is_found(tmp_path: Path) -> None:
    @event_type(upcasters={1: lambda payload: {"amount": 3 - payload["amount"]}})
    @dataclass(frozen=True)
    class Paid:
        amount: int

    released(tmp_path)
    with pytest.raises(AssertionError, match=r"line 1: .* to .*Paid\(amount=2\), but the example 'number_0' is"):
        check(tmp_path, [Paid(1), Paid(2)])


def test_an_example_is_kept_for_ever(tmp_path: Path) -> None:
    released(tmp_path)
    with pytest.raises(AssertionError, match=r"Paid\.v1\.txt, line 2: there is no example 'number_1'"):
        check(tmp_path, [Paid(1)])


def test_a_version_of_the_future_is_found(tmp_path: Path) -> None:
    released(tmp_path)
    (tmp_path / "Paid.v2.txt").write_text('number_0 {"cents":100}\n')
    with pytest.raises(AssertionError, match=r"Paid\.v2\.txt, line 1: .*newest version that this code knows is 1"):
        check(tmp_path, [Paid(1), Paid(2)])


def test_a_file_whose_name_says_no_version_is_found(tmp_path: Path) -> None:
    released(tmp_path)
    (tmp_path / "Paid.vone.txt").write_text('number_0 {"amount":1}\n')
    with pytest.raises(AssertionError, match=r"Paid\.vone\.txt, line 1: .*versions start at 1"):
        check(tmp_path, [Paid(1), Paid(2)])


def test_any_name_becomes_a_file_and_back(tmp_path: Path) -> None:
    named: list[type[Any]] = [
        event_type(name=name)(dataclass(frozen=True)(type("Paid", (), {"__annotations__": {"amount": int}})))
        for name in ("a/b", "..", "bank.v2:Paid", "ä %41", "c\\d")
    ]
    examples = [kind(1) for kind in named]
    with pytest.raises(AssertionError, match="was added"):
        check(tmp_path, examples, named)
    check(tmp_path, examples, named)
    assert len(list(tmp_path.iterdir())) == 5
