"""The page on maps tells the truth: its program is run, block after block."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bundlerun import registry
from tests.runs.calls.conftest import Lab

PAGE = Path(__file__).parents[3] / "docs" / "map.md"
_BLOCK = re.compile(
    r"^(?:`(?P<path>[^`]+)`:\n\n)?```python\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@pytest.mark.slow
def test_the_pages_program_works_word_for_word(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written, and every other block is run where the one before left off; processes
    stand for the containers of this machine."""
    row = registry.Row("tests.backends.processes:Processes")
    monkeypatch.setitem(registry.BACKENDS, registry.DEFAULT_BACKEND, row)  # type: ignore[arg-type]
    # The page's own module, which no other test is to find loaded.
    monkeypatch.delitem(sys.modules, "model", raising=False)
    names: dict[str, object] = {"__name__": "a_notebook"}
    blocks = list(_BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(blocks) > 8
    for block in blocks:
        if block["path"] is not None:
            (lab.path / "project" / block["path"]).write_text(block["text"], encoding="utf-8")
        else:
            exec(compile(block["text"], str(PAGE), "exec"), names)
    del sys.modules["model"]
