"""Equality as it is promised: types, order, signs of zero, folds and names of zones included."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any


def same(a: Any, b: Any) -> bool:
    """Whether nothing tells the two plain values apart."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, float):
        if math.isnan(a):
            return math.isnan(b)
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, (dt.datetime, dt.time)):
        return (
            a.replace(tzinfo=None) == b.replace(tzinfo=None)
            and a.fold == b.fold
            and same_zone(a.tzinfo, b.tzinfo)
        )
    return bool(a == b)


def same_zone(a: dt.tzinfo | None, b: dt.tzinfo | None) -> bool:
    """Whether two zones are of one kind, offset and name."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dt.timezone):
        return a == b and a.tzname(None) == b.tzname(None)
    return a is None or str(a) == str(b)
