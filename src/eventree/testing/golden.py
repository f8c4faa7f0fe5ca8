"""Golden files: the bytes of every form in which events were ever stored, kept beside the code that reads them."""

from collections.abc import Iterator, Sequence
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

    The folder has a file for each name and version, such as `CashDeposited.v2.jsonl`, with a payload a line, and goes
    into version control. What is new, as a class, a version or an example, is added to it, and the check fails that one
    time so that a person looks at it. Lines that are there are never changed: each has to be read as one of the
    examples, so keep the examples as they are from release to release, and add to them. Let them differ in many fields:
    a change of code that reads one of them as another one is not noticed.
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

    def check(self, *examples: EventT) -> None:
        """Write down how the examples are stored now, if that is new, and read all that was ever written.

        Args:
            *examples: Events, at least one of each class.

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

    def _without_example(self, examples: Sequence[EventT]) -> Iterator[str]:
        shown = {self._codec.encode(example).type for example in examples}
        for name in self._codec.names:
            if name not in shown:
                yield f"{name}: there is no example of it; add one"

    def _unreadable(self, examples: Sequence[EventT]) -> Iterator[str]:
        for path in sorted(self._folder.glob("*.v*.jsonl")):
            name, version = _meant_by(path)
            for number, payload in enumerate(_lines(path), 1):
                try:
                    event = self._codec.decode(name, version, payload)
                except CodecError as error:
                    yield f"{path.name}, line {number}: {error}"
                    continue
                if all(self._comparison.difference(example, event) for example in examples):
                    yield f"{path.name}, line {number}: it is read as {event!r}, which is none of the examples"

    def _without_file(self) -> Iterator[str]:
        for known in self._codec.types:
            for version in range(1, known.version):
                if not any(_lines(self._path(name, version)) for name in _names_of(known)):
                    yield (
                        f"{known.name} version {version}: there is no {self._path(known.name, version).name} with a "
                        "payload; put some into it as they are stored"
                    )

    def _add_what_is_new(self, examples: Sequence[EventT]) -> Iterator[str]:
        for example in examples:
            form = self._codec.encode(example)
            path = self._path(form.type, form.version)
            if form.payload not in _lines(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                is_open = path.exists() and not path.read_bytes().endswith(b"\n")  # as some editors leave a last line
                with path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write("\n" * is_open + form.payload + "\n")
                yield f"{path.name}: {form.payload} was added; look at it, and commit the file"

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{quote(name, safe=' ')}.v{version}.jsonl"


def _meant_by(path: Path) -> tuple[str, int]:
    name, _, version = path.name.removesuffix(".jsonl").rpartition(".v")
    return unquote(name), int(version) if version.isdecimal() else 0


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text("utf-8").split("\n") if line]


def _names_of(known: EventType) -> Iterator[str]:
    yield known.name
    yield from known.aliases
