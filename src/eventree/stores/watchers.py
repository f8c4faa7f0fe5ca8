"""Who wants to hear of new events in this process: a hint after each commit."""

from collections.abc import Callable


class Watchers:
    """Keep listeners and call them; a listener must not raise or wait."""

    def __init__(self, deserted: Callable[[], None] = lambda: None) -> None:
        """Start with none; `deserted` is called when the last one has left."""
        self._listeners: dict[object, Callable[[int], None]] = {}
        self._deserted = deserted

    @property
    def are_there(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def add(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Add a listener and return a function that removes it."""
        key = object()
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)
            if not self._listeners:
                self._deserted()

        return remove

    def tell(self, head: int) -> None:
        """Call every listener with the newest position."""
        for listener in list(self._listeners.values()):
            listener(head)
