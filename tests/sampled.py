"""A few cases of a long table for the quick tests, all of them for the complete suite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], each: int) -> list[Any]:
    """The parameters ``cases``: the first and every ``each``-th after it are quick, the others are
    heavy."""
    return [
        pytest.param(case, marks=[pytest.mark.heavy] if at % each else [])
        for at, case in enumerate(cases)
    ]
