"""The house holds its shape: imports go one way and in no circle, functions stay short, the public face is complete."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import eventree

ROOT = Path(eventree.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TESTS = Path(__file__).parent

GROUND_FLOOR = {"backoff", "commit", "errors", "instrumentation", "isolation", "loops", "result", "values"}

ALLOWED = {
    "values": set[str](),
    "isolation": set[str](),
    "commit": {"values"},
    "errors": {"commit"},
    "instrumentation": {"errors"},
    "backoff": {"errors"},
    "loops": {"errors"},
    "result": {"errors", "values"},
    "actors": GROUND_FLOOR,
    "domain": GROUND_FLOOR,
    "stores": GROUND_FLOOR | {"domain"},
    "sourcing": GROUND_FLOOR | {"actors", "domain", "stores"},
    "testing": GROUND_FLOOR | {"actors", "domain", "stores", "sourcing"},
}
"""Which rooms of the house a room may import, besides itself."""

TESTED_IN = {
    # Their results are seen only in what a caller gets from the module above them.
    "domain/comparison": "domain/test_codec.py",
    "instrumentation/guard": "sourcing/test_system_instrumentation.py",
    "sourcing/queries/decoding": "sourcing/test_envelopes.py",
    "stores/postgres/driver": "stores/postgres/test_connections_lost.py",
    # Values and base classes: what fills them and what overrides them is tested.
    "domain/events": "sourcing/commands/test_actor.py",
    "instrumentation/protocol": "sourcing/commands/test_observed.py",
    # One tree, of which all tests hold for every error.
    "errors": "test_errors.py",
    # Promises: the public suite is their test, it runs on each store, and mutants of a store test the suite.
    "stores/contract": "stores/test_memory.py",
    "testing/suite": "testing/test_suite_catches_mutants.py",
    "testing/store_values": "testing/test_suite_catches_mutants.py",
    # What those promises are about in all stores.
    "stores/versions": "stores/test_memory.py",
    "stores/sqlite/query_requests": "stores/sqlite/test_store.py",
    "stores/postgres/query_requests": "stores/postgres/test_store.py",
    "stores/sqlite/reads": "stores/sqlite/test_store.py",
    "stores/postgres/reads": "stores/postgres/test_store.py",
}
"""Modules and packages without a test file of their name, and where they are tested."""


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def package_of(path: Path) -> list[str]:
    return ["eventree", *path.relative_to(ROOT).parts[:-1]]


def module_of(path: Path) -> str:
    return ".".join([*package_of(path), path.stem]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def imported(source: str, package: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what a module imports and its name there, in any form and place: relative, lazy, for type checkers."""
    for node in nodes(source):
        match node:
            case ast.Import(names):
                yield from ((name.name, name.asname or name.name) for name in names)
            case ast.ImportFrom(module, names, level):
                base = package[: len(package) - level + 1] if level else []
                start = ".".join([*base, module] if module else base)
                yield from ((f"{start}.{name.name}", name.asname or name.name) for name in names)
            case _:
                continue


def imported_rooms(source: str, package: list[str]) -> Iterator[str]:
    for target, _ in imported(source, package):
        parts = target.split(".")
        if parts[0] == "eventree":
            yield parts[1] if len(parts) > 1 else "eventree"


def imported_files(path: Path) -> set[str]:
    """Return the modules of the package that a file imports; what is no module is a name in the one above it."""
    targets = {target for target, _ in imported(path.read_text(), package_of(path))}
    modules = {target if target in MODULES else target.rpartition(".")[0] for target in targets}
    return modules & MODULES.keys() - {module_of(path)}


def private_names(source: str, package: list[str]) -> Iterator[str]:
    """Yield the private names of other rooms that a module imports, or looks up in what it imports from them."""
    own = package[1] if len(package) > 1 else ""
    foreign = {
        name: target
        for target, name in imported(source, package)
        if target.startswith("eventree.") and target.split(".")[1] != own
    }
    yield from (target for target in foreign.values() if any(map(is_private, target.split("."))))
    for node in nodes(source):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in foreign:
            yield ast.unparse(node)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes(path.read_text()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def has_code(path: Path) -> bool:
    """Return whether a function of a module does anything: values and protocols have none that does."""
    return any(body_lines(function) > 0 for function in functions(path))


def is_tested_by_name(path: Path) -> bool:
    folder = TESTS / path.relative_to(ROOT).parent
    return any(folder.glob(f"test_{path.stem.lstrip('_')}*.py"))


def names_above(path: Path) -> Iterator[str]:
    """Yield the names of a module and of its packages, without the root."""
    module = path.relative_to(ROOT).with_suffix("")
    yield from (name.as_posix() for name in [module, *module.parents][:-1])


def test_imports_go_one_way() -> None:
    offenders = {
        module: against
        for module, path in MODULES.items()
        if module != "eventree"
        and (against := set(imported_rooms(path.read_text(), package_of(path))) - ALLOWED[room(path)] - {room(path)})
    }
    assert offenders == {}


def test_files_do_not_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imported_files(path) for module, path in MODULES.items()}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]), pytrace=False)


def test_no_private_name_of_another_room_is_used() -> None:
    used = {module: list(private_names(path.read_text(), package_of(path))) for module, path in MODULES.items()}
    assert {module: names for module, names in used.items() if names and module != "eventree"} == {}


def test_nine_of_ten_functions_have_at_most_15_lines() -> None:
    lengths = sorted(
        (body_lines(function), f"{module}.{function.name}")
        for module, path in MODULES.items()
        for function in functions(path)
    )
    longest = lengths[len(lengths) * 9 // 10 :]
    assert longest[0][0] <= 15, longest


def test_no_form_of_import_is_overlooked() -> None:
    for source, package, rooms in [
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
    ]:
        assert list(imported_rooms(source, package)) == rooms, source


def test_no_use_of_a_private_name_is_overlooked() -> None:
    for source, names in [
        ("from eventree.stores._memory import Log", ["eventree.stores._memory.Log"]),
        ("from eventree.stores.memory import _Log", ["eventree.stores.memory._Log"]),
        ("from eventree.stores import memory as m\nm._Log()", ["m._Log"]),
        ("import eventree.stores.memory\neventree.stores.memory._Log()", ["eventree.stores.memory._Log"]),
        ("from eventree.stores import MemoryStore\nMemoryStore._append(1)", ["MemoryStore._append"]),
        ("from eventree.stores import MemoryStore\nMemoryStore.__name__", []),
        ("from eventree.actors.mailbox import _Lane", []),
    ]:
        assert list(private_names(source, ["eventree", "actors"])) == names, source


def test_every_room_of_the_house_has_rules() -> None:
    assert {room(path) for path in FILES} - {"__init__"} == set(ALLOWED)


def test_nothing_looks_for_the_process_of_a_lease() -> None:
    """Where processes may not see each other, as under `hidepid=2`, a live one would be taken for dead."""
    sources = {module: path.read_text() for module, path in MODULES.items()}
    forbidden = ("/proc", "os.kill", "pidfd_open", "pid_exists", "psutil", "waitpid", "boot_id")
    assert [(module, word) for module, source in sources.items() for word in forbidden if word in source] == []


def test_actors_and_stores_never_see_each_other() -> None:
    assert "stores" not in ALLOWED["actors"]
    assert "actors" not in ALLOWED["stores"]


def test_an_actor_knows_nothing_of_supervision() -> None:
    """What both wings of the room need stays outside of them, so that the arrows go one way."""
    wing = [path.read_text() for path in (ROOT / "actors" / "actor").glob("*.py")]
    assert wing
    assert not any("eventree.actors.supervision" in source for source in wing)


def test_the_face_has_about_45_names_and_each_room_the_rest() -> None:
    assert 40 <= len(eventree.__all__) <= 50
    assert all(hasattr(eventree, name) for name in eventree.__all__)
    for room_name in ("actors", "domain", "errors", "instrumentation", "sourcing", "stores"):
        assert inspect.ismodule(getattr(eventree, room_name, None)), f"eventree.{room_name} is imported with eventree"


def test_a_star_import_gives_the_public_names_and_no_module() -> None:
    names: dict[str, object] = {}
    exec("from eventree import *", names)  # noqa: S102 - it is the statement that is tested
    assert set(eventree.__all__) == names.keys() - {"__builtins__"}
    assert not any(inspect.ismodule(value) for value in names.values())


def test_the_postgres_store_is_found_but_not_imported_with_the_others() -> None:
    assert "PostgresStore" in dir(eventree)
    assert "PostgresStore" not in eventree.__all__
    assert set(eventree.__all__) < set(dir(eventree))


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def test_the_test_of_a_module_is_found_by_its_name() -> None:
    untested = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if path.name != "__init__.py"
        and has_code(path)
        and not is_tested_by_name(path)
        and TESTED_IN.keys().isdisjoint(names_above(path))
    }
    assert untested == set()


@pytest.mark.parametrize(("name", "tests"), TESTED_IN.items())
def test_a_module_that_is_tested_elsewhere_has_no_test_of_its_name(name: str, tests: str) -> None:
    modules = [path for path in FILES if path.name != "__init__.py" and name in names_above(path)]
    assert modules
    assert not all(map(is_tested_by_name, modules))
    assert (TESTS / tests).is_file()
