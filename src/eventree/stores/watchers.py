"""Who wants to hear of new events in this process: a hint after each commit."""

from collections.abc import Callable


class Watchers:
    """Keep listeners and call them; a listener must not raise or wait."""

    def __init__(self) -> None:
        """Start with none."""
        self._listeners: dict[object, Callable[[int], None]] = {}

    def add(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Add a listener and return a function that removes it."""
        key = object()
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)

        return remove

    def tell(self, head: int) -> None:
        """Call every listener with the newest position."""
        for listener in list(self._listeners.values()):
            listener(head)
