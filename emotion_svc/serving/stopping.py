"""Whether this process is about to stop: what asks /readyz hears of it first, and connections are not kept."""

from collections.abc import Callable


class Stopping:
    """Begins once, and never ends. `on_begin` is called then."""

    def __init__(self, on_begin: Callable[[], None]) -> None:
        self._on_begin = on_begin
        self._has_begun = False

    @property
    def has_begun(self) -> bool:
        """Whether no more work should be sent here. What is sent all the same is answered."""
        return self._has_begun

    def begin(self) -> None:
        """From here on, no more work should be sent."""
        if not self._has_begun:
            self._has_begun = True
            self._on_begin()
