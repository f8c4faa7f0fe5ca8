"""In-process commit listeners, which get a hint after each commit."""

from collections.abc import Callable


class CommitListeners:
    """Hold listeners and call them after commits; a listener must neither raise nor block."""

    def __init__(self, on_empty: Callable[[], None] = lambda: None) -> None:
        """Start without listeners.

        Args:
            on_empty: Called when the last listener was removed; default does nothing.
        """
        self._listeners: dict[object, Callable[[int], None]] = {}
        self._on_empty = on_empty

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Add a listener and return a function that removes it."""
        key = object()
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)
            if not self._listeners:
                self._on_empty()

        return remove

    def notify(self, head: int) -> None:
        """Call every listener with the head position."""
        for listener in list(self._listeners.values()):
            listener(head)
