"""The command line as a test calls it: in this process, with its exit code and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bundlerun.cli.main import run_cli
from tests.provision.conftest import account as account
from tests.provision.conftest import served as served
from tests.provision.conftest import work as work


@dataclass(frozen=True)
class Said:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)


@pytest.fixture
def bundlerun(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """``bundlerun("ls", "-v")`` runs the command and gives what it said."""

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def ok(bundlerun: Callable[..., Said]) -> Callable[..., Said]:
    """As ``bundlerun``, for command lines that must do well."""

    def call(*arguments: object) -> Said:
        said = bundlerun(*arguments)
        assert said.code == 0, said
        return said

    return call
