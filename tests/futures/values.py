"""Values of users' own classes, as items and results have them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

import bundlerun as br


@dataclass
class Measured:
    """A class of the project that holds files of bundlerun."""

    name: str
    file: br.File
    folder: br.Directory | None = None
    again: Any = None


@dataclass
class Held:
    """What no pickle can have."""

    lock: Any = field(default_factory=threading.Lock)


class Rude:
    """Its reduction raises what is nobody's business."""

    def __reduce__(self) -> NoReturn:
        raise ZeroDivisionError("rude")
