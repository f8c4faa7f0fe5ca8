"""Golden files: stored forms of events from all releases, in version control next to the code that decodes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

from eventree.domain.aggregate import AggregateType
from eventree.domain.codec import Codec
from eventree.domain.comparison import Comparison
from eventree.domain.event_types import EventType
from eventree.errors import CodecError

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


class GoldenFiles(Generic[EventT]):
    """Check that events stored by any earlier release are still decoded to the same values.

    The folder holds one file for each event type and version, such as `CashDeposited.v2.txt`, and belongs in version
    control. Each line of a file is the name of an example and a payload that must always be decoded to that example. A
    new class, version or example is written to the folder, and the check fails this one time so that you review the new
    line. Never change or remove an example; only add new ones.

    ```
    def test_stored_events_are_still_decoded_to_the_same_values() -> None:
        golden = GoldenFiles(bank_account, Path(__file__).with_name("golden"))
        golden.check(deposited=Deposited(Decimal(5)), withdrawn=Withdrawn(Decimal(7)))
    ```
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT], folder: str | Path) -> None:
        """Create the check; no file is read or written yet.

        Args:
            aggregate_type: The aggregate type whose events are checked.
            folder: The folder of the files; created if it is missing.
        """
        self._codec: Codec[EventT] = aggregate_type.events
        self._folder = Path(folder)
        self._comparison = Comparison()

    def check(self, **examples: EventT) -> None:
        """Decode every payload in the folder, and add the stored form of each example if it is new.

        Nothing is written if anything is wrong.

        Args:
            **examples: Events by the names of the examples, at least one of each class.

        Raises:
            AssertionError: A line was added; a payload cannot be decoded, or is decoded to another value; an example
                named in the files is missing; or a class has no example, or one of its versions no file.
            EventNotEncodable: An example cannot be stored.
        """
        problems = [*self._without_example(examples), *self._undecodable(examples), *self._without_file()]
        problems = problems or list(self._add_new(examples))  # never write a wrong form
        if problems:
            text = "\n".join(f"- {problem}" for problem in problems)
            raise AssertionError(f"the golden files in {self._folder} do not match the code\n{text}")

    def _without_example(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        with_example = {self._codec.encode(example).type for example in examples.values()}
        for name in self._codec.names:
            if name not in with_example:
                yield f"{name}: there is no example; pass one to check()"

    def _undecodable(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        for path in sorted(self._folder.glob("*.v*.txt")):
            name, version = _type_and_version(path)
            for number, line in enumerate(_lines(path), 1):
                label, _, payload = line.partition(" ")
                problem = self._problem_of(examples, label, name, version, payload)
                if problem is not None:
                    yield f"{path.name}, line {number}: {problem}"

    def _problem_of(
        self, examples: Mapping[str, EventT], label: str, name: str, version: int, payload: str
    ) -> str | None:
        if label not in examples:
            return f"there is no example {label!r}; add it back, since examples must never be removed"
        try:
            event = self._codec.decode(name, version, payload)
        except CodecError as error:
            return str(error)
        if self._comparison.difference(examples[label], event) is None:
            return None
        return (
            f"it is decoded to {event!r}, but the example {label!r} is {examples[label]!r}; "
            "give the class a new version with an upcaster, or restore the example"
        )

    def _without_file(self) -> Iterator[str]:
        for known in self._codec.types:
            for version in range(1, known.version):
                if not any(_lines(self._path(name, version)) for name in _names_of(known)):
                    file = self._path(known.name, version).name
                    yield (
                        f"{known.name} version {version}: there is no payload in {file}; "
                        "add a line with an example's name and a payload as that version stored it"
                    )

    def _add_new(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        for label, example in examples.items():
            form = self._codec.encode(example)
            path, line = self._path(form.type, form.version), f"{label} {form.payload}"
            if line not in _lines(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                # Some editors leave the last line without a line feed.
                is_unterminated = path.exists() and not path.read_bytes().endswith(b"\n")
                with path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write("\n" * is_unterminated + line + "\n")
                yield f"{path.name}: {line} was added; review it and commit the file"

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{quote(name, safe=' ')}.v{version}.txt"


def _type_and_version(path: Path) -> tuple[str, int]:
    name, _, version = path.name.removesuffix(".txt").rpartition(".v")
    return unquote(name), int(version) if version.isdecimal() else 0


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text("utf-8").split("\n") if line]


def _names_of(known: EventType) -> Iterator[str]:
    yield known.name
    yield from known.aliases
