"""The house holds its shape: imports go one way, files and functions stay short, the public face is complete."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventree

ROOT = Path(eventree.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

GROUND_FLOOR = {"backoff", "errors", "result", "values"}

ALLOWED = {
    "errors": set[str](),
    "values": set[str](),
    "backoff": {"errors"},
    "result": {"errors", "values"},
    "actors": GROUND_FLOOR,
    "domain": GROUND_FLOOR,
    "stores": GROUND_FLOOR | {"domain"},
    "sourcing": GROUND_FLOOR | {"actors", "domain", "stores"},
    "testing": GROUND_FLOOR | {"actors", "domain", "stores", "sourcing"},
}
"""Which rooms of the house a room may import, besides itself."""


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(source: str, package: list[str]) -> Iterator[str]:
    """Yield the rooms that a module imports, in whatever form and place: relative, lazy or for type checkers only."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                modules = [name.name for name in names]
            case ast.ImportFrom(module, names, level):
                base = package[: len(package) - level + 1] if level else []
                start = ".".join([*base, module] if module else base)
                modules = [f"{start}.{name.name}" for name in names]
            case _:
                continue
        for name in modules:
            parts = name.split(".")
            if parts[0] == "eventree":
                yield parts[1] if len(parts) > 1 else "eventree"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent != ROOT or path.name != "__init__.py"], ids=id_of
)
def test_imports_go_one_way(path: Path) -> None:
    package = ["eventree", *path.relative_to(ROOT).parts[:-1]]
    used = set(imported_rooms(path.read_text(), package))
    assert used - ALLOWED[room(path)] - {room(path)} == set()


@pytest.mark.parametrize(
    ("source", "package", "rooms"),
    [
        ("import eventree.stores.memory", ["eventree", "actors"], ["stores"]),
        ("from eventree.stores import MemoryStore", ["eventree", "actors"], ["stores"]),
        ("from eventree import stores", ["eventree", "actors"], ["stores"]),
        ("from ..stores.memory import MemoryStore", ["eventree", "actors"], ["stores"]),
        ("from .. import stores", ["eventree", "actors"], ["stores"]),
        ("from ...stores import memory", ["eventree", "sourcing", "queries"], ["stores"]),
        ("if TYPE_CHECKING:\n    from eventree.actors import Actor", ["eventree", "stores"], ["actors"]),
        ("def lazy():\n    import eventree.actors", ["eventree", "stores"], ["actors"]),
        ("import eventree", ["eventree", "stores"], ["eventree"]),
        ("import msgspec", ["eventree", "stores"], []),
    ],
)
def test_no_form_of_import_is_overlooked(source: str, package: list[str], rooms: list[str]) -> None:
    assert list(imported_rooms(source, package)) == rooms


def test_every_room_of_the_house_has_rules() -> None:
    assert {room(path) for path in FILES} - {"__init__"} == set(ALLOWED)


def test_actors_and_stores_never_see_each_other() -> None:
    assert "stores" not in ALLOWED["actors"]
    assert "actors" not in ALLOWED["stores"]


def test_an_actor_knows_nothing_of_supervision() -> None:
    """What both wings of the room need stays outside of them, so that the arrows go one way."""
    wing = [path.read_text() for path in (ROOT / "actors" / "actor").glob("*.py")]
    assert wing
    assert not any("eventree.actors.supervision" in source for source in wing)


@pytest.mark.parametrize("path", FILES, ids=id_of)
def test_a_file_has_at_most_450_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


@pytest.mark.parametrize("path", FILES, ids=id_of)
def test_a_function_body_has_at_most_40_lines(path: Path) -> None:
    assert [(function.name, body_lines(function)) for function in functions(path) if body_lines(function) > 40] == []


def test_the_public_names_are_sorted_and_importable() -> None:
    names = eventree.__all__
    assert names == sorted(names, key=_constants_then_classes)
    assert len(names) == len(set(names))
    assert all(hasattr(eventree, name) for name in names)


def test_every_public_name_of_the_module_is_listed() -> None:
    own = {name for name, value in vars(eventree).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert own == set(eventree.__all__)


def test_the_postgres_store_is_found_but_not_imported_with_the_others() -> None:
    assert "PostgresStore" in dir(eventree)
    assert "PostgresStore" not in eventree.__all__
    assert set(eventree.__all__) < set(dir(eventree))


def test_what_a_room_lists_it_has() -> None:
    for name in ALLOWED:
        module = __import__(f"eventree.{name}", fromlist=["__all__"])
        assert all(hasattr(module, public) for public in getattr(module, "__all__", []))


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def _constants_then_classes(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)
