"""Golden files: the bytes of every form in which events were ever stored, kept beside the code that reads them."""

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
    """Check that events which were stored by any release so far are read as what they meant.

    The folder has a file for each name and version, such as `CashDeposited.v2.txt`, and goes into version control. Each
    of its lines is the name of an example and a payload, and has to be read as that example for ever. What is new, as a
    class, a version or an example, is added, and the check fails that one time so that a person looks at it. So keep
    the examples as they are from release to release, and add to them.

    ```
    def test_what_was_ever_stored_is_read_as_what_it_meant() -> None:
        golden = GoldenFiles(bank_account, Path(__file__).with_name("golden"))
        golden.check(deposited=Deposited(Decimal(5)), withdrawn=Withdrawn(Decimal(7)))
    ```
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT], folder: str | Path) -> None:
        """Remember what is checked against what.

        Args:
            aggregate_type: Whose events.
            folder: Where the files are; made where it is missing.
        """
        self._codec: Codec[EventT] = aggregate_type.events
        self._folder = Path(folder)
        self._comparison = Comparison()

    def check(self, **examples: EventT) -> None:
        """Write down how the examples are stored now, if that is new, and read all that was ever written.

        Args:
            **examples: Events by name, at least one of each class.

        Raises:
            AssertionError: Something was added; a payload of the past cannot be read, or is read as something else; or
                a class has no example, or a version of it no file.
            EventNotEncodable: An example cannot be stored.
        """
        problems = [*self._without_example(examples), *self._unreadable(examples), *self._without_file()]
        problems = problems or list(self._add_what_is_new(examples))  # what is wrong is never written down
        if problems:
            text = "\n".join(f"- {problem}" for problem in problems)
            raise AssertionError(f"the golden files in {self._folder} do not fit the code\n{text}")

    def _without_example(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        shown = {self._codec.encode(example).type for example in examples.values()}
        for name in self._codec.names:
            if name not in shown:
                yield f"{name}: there is no example of it; add one"

    def _unreadable(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        for path in sorted(self._folder.glob("*.v*.txt")):
            name, version = _meant_by(path)
            for number, line in enumerate(_lines(path), 1):
                label, _, payload = line.partition(" ")
                problem = self._misread(examples, label, name, version, payload)
                if problem is not None:
                    yield f"{path.name}, line {number}: {problem}"

    def _misread(self, examples: Mapping[str, EventT], label: str, name: str, version: int, payload: str) -> str | None:
        if label not in examples:
            return f"there is no example called {label!r}; keep it for ever"
        try:
            event = self._codec.decode(name, version, payload)
        except CodecError as error:
            return str(error)
        if self._comparison.difference(examples[label], event) is None:
            return None
        return f"it is read as {event!r}, but {label!r} is {examples[label]!r}"

    def _without_file(self) -> Iterator[str]:
        for known in self._codec.types:
            for version in range(1, known.version):
                if not any(_lines(self._path(name, version)) for name in _names_of(known)):
                    yield (
                        f"{known.name} version {version}: there is no {self._path(known.name, version).name} with a "
                        "payload; put some into it as they are stored"
                    )

    def _add_what_is_new(self, examples: Mapping[str, EventT]) -> Iterator[str]:
        for label, example in examples.items():
            form = self._codec.encode(example)
            path, line = self._path(form.type, form.version), f"{label} {form.payload}"
            if line not in _lines(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                is_open = path.exists() and not path.read_bytes().endswith(b"\n")  # as some editors leave a last line
                with path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write("\n" * is_open + line + "\n")
                yield f"{path.name}: {line} was added; look at it, and commit the file"

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{quote(name, safe=' ')}.v{version}.txt"


def _meant_by(path: Path) -> tuple[str, int]:
    name, _, version = path.name.removesuffix(".txt").rpartition(".v")
    return unquote(name), int(version) if version.isdecimal() else 0


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text("utf-8").split("\n") if line]


def _names_of(known: EventType) -> Iterator[str]:
    yield known.name
    yield from known.aliases
