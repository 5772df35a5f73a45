"""A memory to freeze into, and a round trip through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.value import decode_value, encode_value, links, outline
from tests.bundles.memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """An empty memory."""
    return Memory(tmp_path / "memory")


@pytest.fixture
def back(memory: Memory) -> Callable[[Any], Any]:
    """Freezes a value, sees that links and outline agree to it, and thaws it."""

    def there_and_back(value: Any) -> Any:
        root = encode_value(value, memory)
        named = [link.digest for link, _ in links(root, memory.read)]
        assert len(named) == len(set(named))
        assert set(named) <= set(memory.objects)
        outline(root, memory.read)
        return decode_value(root, memory)

    return there_and_back
