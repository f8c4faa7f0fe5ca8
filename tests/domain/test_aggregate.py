"""Type hints are the schema: what an `AggregateType` learns from `apply`, and what it refuses."""

# ruff: noqa: ARG001, ARG005 - these functions are only looked at

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Optional, TypeAlias, Union

import pytest
from typing_extensions import TypeAliasType

import bank
from eventree import AggregateType, InvalidArgument, Ok, Result


@dataclass(frozen=True)
class Counter:
    value: int = 0


@dataclass(frozen=True)
class Up:
    by: int


@dataclass(frozen=True)
class Down:
    by: int


Moved: TypeAlias = Up | Down
Rising = TypeAliasType("Rising", Up)
Named = TypeAliasType("Named", Rising | Down)  # before Python 3.12 there is no `type` statement
Anything = TypeAliasType("Anything", Named)


def handle(state: Counter, command: int) -> Result[Sequence[Up], str]:
    return Ok([Up(command)])


def counter(apply: Callable[..., Any], **options: Any) -> AggregateType[Any, Any, Any, Any]:
    return AggregateType("counter", handle=handle, apply=apply, empty_state=Counter, **options)


def by_union(state: Counter, event: Up | Down) -> Counter:
    return state


def by_alias(state: Counter, event: Moved) -> Counter:
    return state


def by_names_that_overlap(state: Counter, event: Anything | Named) -> Counter:
    return state


def by_text(state: "Counter", event: "Up | Down") -> "Counter":
    return state


def by_typing(state: Counter, event: Union[Up, Down]) -> Counter:  # noqa: UP007
    return state


def by_annotated(state: Annotated[Counter, "x"], event: Annotated[Up | Down, "y"]) -> Counter:
    return state


class Applier:
    def __call__(self, state: Counter, event: Up | Down) -> Counter:
        return state

    def method(self, state: Counter, event: Up | Down) -> Counter:
        return state


@pytest.mark.parametrize(
    "apply",
    [by_union, by_alias, by_names_that_overlap, by_text, by_typing, by_annotated, Applier(), Applier().method],
    ids=lambda apply: getattr(apply, "__qualname__", type(apply).__name__),
)
def test_event_and_state_classes_are_read_from_the_annotations(apply: Callable[..., Any]) -> None:
    learned = counter(apply)
    assert learned.events.names == ("Up", "Down")
    assert learned.states is not None
    assert learned.states.names == ("Counter",)


def test_a_union_of_states_is_unfolded() -> None:
    assert bank.bank_account.states is not None
    assert bank.bank_account.states.names == ("Unopened", "Account")
    assert bank.bank_account.events.names == ("AccountOpened", "CustomerDepositedCash", "CustomerWithdrewCash")


def test_an_optional_state_can_be_none() -> None:
    def apply(state: Optional[Counter], event: Up) -> Optional[Counter]:  # noqa: UP045
        return state

    states = counter(apply).states
    assert states is not None
    form = states.encode(None)
    assert states.decode(form.type, form.version, form.payload) is None


def test_given_classes_need_no_annotations() -> None:
    given = counter(lambda state, event: state, events=[Up, Down], state=[Counter])
    assert given.events.names == ("Up", "Down")
    assert given.states is not None


def test_an_unknown_state_only_means_no_snapshots() -> None:
    assert counter(lambda state, event: state, events=[Up]).states is None


def nameless(state: Counter, event) -> Counter:  # type: ignore[no-untyped-def]
    return state


def lonely(state: Counter) -> Counter:
    return state


def any_object(state: Counter, event: object) -> Counter:
    return state


def a_list(state: Counter, event: list[Up]) -> Counter:
    return state


def dangling(state: "Nowhere", event: "Nothing") -> None:  # type: ignore[name-defined]  # noqa: F821
    pass


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (nameless, "'event' has no annotation"),
        (lambda state, event: state, r"events=\[\.\.\.\]"),
        (partial(by_union), r"events=\[\.\.\.\]"),
        (lonely, "must take a state and an event"),
        (any_object, "not a class or a union of classes"),
        (a_list, "not a class or a union of classes"),
        (dangling, r"cannot be resolved.*give events="),
    ],
)
def test_an_apply_that_does_not_tell_its_events_is_refused(apply: Callable[..., Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        counter(apply)
    assert refused.value.name == "apply"


def test_classes_inside_a_function_are_a_typed_error_that_names_the_way_out() -> None:
    @dataclass(frozen=True)
    class Local:
        by: int

    def apply(state: "Counter", event: "Local") -> "Counter":
        return state

    with pytest.raises(InvalidArgument, match=r"Local.*give events="):
        counter(apply)
    assert counter(apply, events=[Local]).events.names == ("Local",)


def test_event_classes_with_one_name_clash() -> None:
    def another() -> type:
        return dataclass(type("Up", (), {"__annotations__": {"by": int}}))

    with pytest.raises(InvalidArgument, match="two classes are called Up"):
        counter(by_union, events=[Up, another()])


def test_an_apply_of_any_event_is_refused() -> None:
    def apply(state: Counter, event: Any) -> Counter:
        return state

    with pytest.raises(InvalidArgument):
        counter(apply)


def test_an_annotation_that_is_no_attribute_of_its_module_is_refused() -> None:
    def apply(state: "bank.Nowhere", event: "bank.Nothing") -> None:  # type: ignore[name-defined]
        pass

    with pytest.raises(InvalidArgument):
        counter(apply)


def test_an_apply_with_fields_of_its_own_is_read_from_its_call() -> None:
    @dataclass
    class Scaled:
        factor: int

        def __call__(self, state: Counter, event: Up) -> Counter:
            return state

    assert counter(Scaled(2)).events.names == ("Up",)


@pytest.mark.parametrize("role", ["handle", "apply", "empty_state"])
def test_what_is_no_function_is_refused_by_its_role(role: str) -> None:
    functions: dict[str, Any] = {"handle": handle, "apply": by_union, "empty_state": Counter}
    with pytest.raises(InvalidArgument) as refused:
        AggregateType("counter", **{**functions, role: Counter()})
    assert refused.value.name == role


@pytest.mark.parametrize("name", ["", "a" * 256, "a\0b", "\ud800", 7])
def test_a_name_is_held_to_the_rules_of_ids(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        AggregateType(name, handle=handle, apply=by_union, empty_state=Counter)
    assert refused.value.name == "name"


def test_replay_applies_events_in_order() -> None:
    events: list[bank.BankEvent] = [
        bank.AccountOpened("a"),
        bank.CustomerDepositedCash(Decimal(5), Decimal(5)),
        bank.CustomerWithdrewCash(Decimal(2), Decimal(3)),
    ]
    assert bank.bank_account.replay(bank.Unopened(), events) == bank.Account(Decimal(3))
    assert bank.bank_account.replay(bank.Unopened(), []) == bank.Unopened()


def test_an_apply_whose_parameters_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="apply"):
        counter(max)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None, 2**31])
def test_a_state_version_is_a_positive_whole_number(version: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        counter(by_union, state_version=version)
    assert refused.value.name == "state_version"


def test_states_have_version_1_unless_another_is_given() -> None:
    assert counter(by_union).state_version == 1
    assert counter(by_union, state_version=7).state_version == 7


def test_why_there_is_no_codec_of_the_state_is_not_lost() -> None:
    known = counter(by_union)
    assert known.state_codec() is known.states
    with pytest.raises(InvalidArgument, match="'state' has no annotation; annotate it, or give state="):
        counter(lambda state, event: state, events=[Up]).state_codec()
