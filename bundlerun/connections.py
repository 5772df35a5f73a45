"""The connections of a workspace to the outside: each identity is opened once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from bundlerun.progress import LOGGED, Progress
from bundlerun.settings import Settings

T = TypeVar("T")


class Connections:
    """The settings, who is told of long waits, and what was opened by them.

    A remote, a backend and a registry may belong to one account: they share what ``once`` made, and
    with it the search for credentials. Safe to use from threads.
    """

    def __init__(self, settings: Settings, progress: Progress = LOGGED) -> None:
        self.settings = settings
        self.progress = progress
        self._lock = threading.RLock()
        self._made: dict[Callable[[Connections], Any], Any] = {}

    def but(self, settings: Settings, *keeping: Callable[[Connections], Any]) -> Connections:
        """Connections with other settings, that share what ``keeping`` make."""
        other = Connections(settings, self.progress)
        other._made = {make: self.once(make) for make in keeping}
        return other

    def once(self, make: Callable[[Connections], T]) -> T:
        """The result of ``make`` for these connections, made at the first call alone."""
        with self._lock:
            if make not in self._made:
                self._made[make] = make(self)
            return cast(T, self._made[make])
