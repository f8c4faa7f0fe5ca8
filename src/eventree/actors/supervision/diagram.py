"""A running tree in figures and as a text diagram."""

from collections.abc import Iterator
from dataclasses import dataclass
from traceback import TracebackException

from eventree.actors.supervision.children import Children
from eventree.actors.supervision.messages import AnyChild


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """The number of children of a supervisor.

    Attributes:
        specs: All children, stopped ones included.
        active: Those that are running.
        supervisors: Those that are, or last were, supervisors.
        workers: All others.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


def count(children: Children) -> ChildCounts:
    """Count the children of a supervisor."""
    active = sum(child.running for child in children)
    supervisors = sum(child.is_supervisor for child in children)
    return ChildCounts(len(children), active, supervisors, len(children) - supervisors)


def draw(root: Children) -> str:
    """Draw a tree: names, statuses, restarts and queue lengths."""
    return "\n".join([f"{root.name} {_options(root)}", *_lines(root, "")])


def _lines(children: Children, indent: str) -> Iterator[str]:
    last = len(children)
    for number, child in enumerate(children, 1):
        branch, below = ("└── ", "    ") if number == last else ("├── ", "│   ")
        grandchildren = _children_of(child)
        yield f"{indent}{branch}{_describe(child)}{'' if grandchildren is None else f' {_options(grandchildren)}'}"
        if grandchildren is not None:
            yield from _lines(grandchildren, indent + below)


def _describe(child: AnyChild) -> str:
    ref = child.ref
    parts = [f"{child.spec.id} {ref.status.value}"]
    if child.restarts:
        parts.append(f"{child.restarts} restart{'s' if child.restarts > 1 else ''}")
    if child.last_crash is not None:
        parts.append(f"last crash {_type_of(child.last_crash)}")
    if ref.mailbox.in_progress and not child.is_supervisor:
        parts.append(f"handling {', '.join(sorted(set(ref.mailbox.in_progress)))}")
    if len(ref.mailbox):
        parts.append(f"{len(ref.mailbox)} queued")
    if ref.mailbox.suspended:
        parts.append("suspended")
    return ", ".join(parts)


def _type_of(crash: TracebackException) -> str:
    """Return the type of an exception without its message, which may hold confidential data."""
    return "".join(crash.format_exception_only()).partition(":")[0].strip().rpartition(".")[2]


def _options(children: Children) -> str:
    options = children.options
    restarts = f"{children.restarts.recent} of {options.max_restarts} restarts in {options.max_seconds:g} s"
    abandoned = f", {children.abandoned} abandoned" if children.abandoned else ""
    return f"[{options.strategy.value}, {restarts}{abandoned}]"


def _children_of(child: AnyChild) -> Children | None:
    """Return the children of a running supervisor, None for any other child."""
    children: object = getattr(child.actor, "children", None)
    return children if isinstance(children, Children) else None
