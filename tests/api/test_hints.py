"""What an error proposes is written as its caller writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.api.hints import as_arguments
from bundlerun.errors import UsageError


@pytest.mark.parametrize(
    ("hint", "in_python"),
    [
        ("--vcpus 1", "vcpus=1"),
        ("--timeout-s 60", "timeout_s=60"),
        ("--base-image python:3.11-slim", 'base_image="python:3.11-slim"'),
        ("--base-image IMAGE, with one that", "base_image=IMAGE, with one that"),
        ("--env NAME=value", 'env={"NAME": "value"}'),
        ("leave out --build", "leave out build"),
        ("bundlerun jobs --remote", "bundlerun jobs --remote"),
        ("bundlerun doctor; --retries 0", "bundlerun doctor; retries=0"),
        ("chunksize=10", "chunksize=10"),
    ],
)
def test_options_become_arguments_and_commands_stay(hint: str, in_python: str) -> None:
    """A command is typed in a shell, whoever reads of it."""
    assert as_arguments(hint) == in_python


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"backend": "Local", "retries": 3}, "retries=0"),
        ({"backend": "AWSBatch", "vcpus": 0.5}, "vcpus=1"),
        ({"backend": "AWSBatch", "memory_mib": 2}, "memory_mib=2048"),
    ],
)
def test_a_refused_map_names_the_argument(
    options: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    """No option of a command that there is not."""
    workspace = br.open(tmp_path / "store", f"file://{tmp_path}/remote")
    with pytest.raises(UsageError) as refused:
        workspace.map(abs, [1], **options)
    assert refused.value.hint == hint
    workspace.close()
