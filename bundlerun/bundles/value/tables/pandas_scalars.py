"""Single values of pandas inside a table, and the time zones of its columns.

The values are Timestamp, Timedelta, Period, Interval, NA and NaT.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from bundlerun.bundles.value import arrays
from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.bundles.value.scalars import zone_named
from bundlerun.errors import IntegrityError
from bundlerun.registry import needed

_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError)

Encode = Callable[[Any], bytes]
Decode = Callable[[Any], Any]


def cell_bytes(value: Any, encode: Encode) -> bytes | None:
    """The JSON of a single value of pandas, None for any other value.

    ``encode`` writes the values that an Interval is made of. Raises CannotKeep.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or type(value).__module__.partition(".")[0] != "pandas":
        return None
    if value is pandas.NA or value is pandas.NaT:
        return b'{"pandas":"NA"}' if value is pandas.NA else b'{"pandas":"NaT"}'
    kind = type(value)
    if kind is pandas.Timestamp:
        zone = None if value.tz is None else zone_spec(value.tz)
        parts = [_text(value.asm8), json.dumps(zone), str(value.fold)]
    elif kind is pandas.Timedelta:
        parts = [_text(value.asm8)]
    elif kind is pandas.Period:
        parts = [str(value.ordinal), json.dumps(period_freq(value))]
    elif kind is pandas.Interval:
        ends = encode(value.left), encode(value.right)
        parts = [each.decode() for each in ends] + [json.dumps(value.closed)]
    else:
        return None
    found = f'{{"pandas":["{kind.__name__}",{",".join(parts)}]}}'
    if kind is pandas.Timestamp and not _same_moment(value_of(json.loads(found)["pandas"]), value):
        raise CannotKeep(f"the pandas.Timestamp {value!r:.80}", hint="value.to_pydatetime()")
    return found.encode()


def value_of(inner: Any, decode: Decode = lambda term: None) -> Any:
    """The inverse of ``cell_bytes``, of what stands below "pandas".

    Raises IntegrityError.
    """
    pandas = needed("pandas")
    try:
        if inner in ("NA", "NaT"):
            return getattr(pandas, inner)
        kind, *parts = inner
        if kind == "Timestamp":
            return _moment(pandas, *parts)
        if kind == "Timedelta":
            return pandas.Timedelta(arrays.scalar_of(*parts))
        if kind == "Period":
            return pandas.Period(ordinal=parts[0], freq=parts[1])
        if kind == "Interval":
            return pandas.Interval(decode(parts[0]), decode(parts[1]), closed=parts[2])
    except _MALFORMED as error:
        raise IntegrityError(f"a value of pandas is malformed: {error!s:.120}") from error
    raise IntegrityError(f"a value of pandas is malformed: {inner!r:.120}")


def _moment(pandas: Any, text: Any, zone: Any, fold: Any) -> Any:
    found = pandas.Timestamp(arrays.scalar_of(text))
    if zone is not None:
        found = found.tz_localize("UTC").tz_convert(zone_of(zone))
    # Where the zone needs no fold, somebody may have set one.
    return found if found.fold == fold else found.replace(fold=fold)


def period_freq(value: Any) -> str:
    """The frequency of a Period or a PeriodDtype, as pandas.PeriodDtype takes it."""
    pandas = sys.modules["pandas"]
    # Its own freqstr is that of an offset ("ME"), which no Period takes.
    name: str = pandas.PeriodDtype(value.freq).name
    return name[len("period[") : -1]


def _text(scalar: Any) -> str:
    return f'"{arrays.scalar_base64(scalar).decode()}"'


def _same_moment(one: Any, other: Any) -> bool:
    zones = one.tz, other.tz
    same = zones == (None, None) or (None not in zones and same_zone(*zones))
    return bool(same and one == other and (one.unit, one.fold) == (other.unit, other.fold))


_MICROSECOND = timedelta(microseconds=1)


def zone_spec(zone: Any) -> Any:
    """A time zone as JSON.

    zoneinfo's and pytz' stand by name, a ``datetime.timezone`` by its offset and the name that
    somebody gave it. Raises CannotKeep.
    """
    if type(zone) is ZoneInfo and zone.key is not None:
        return {"zone": zone.key}
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return {"offset_us": [offset // _MICROSECOND, *name]}
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return {"pytz": zone.zone}
    kind = type(zone)
    raise CannotKeep(
        f"a time zone of type {kind.__module__}.{kind.__qualname__}",
        hint='tz_convert("Europe/Berlin"), or another zone by its name',
    )


def zone_of(spec: Any) -> Any:
    """The inverse of ``zone_spec``.

    Raises ValueError, TypeError or AttributeError for what it does not write, SettingsError for a
    zone that this machine does not know.
    """
    ((kind, inner),) = spec.items()
    if kind == "zone":
        return zone_named(inner)
    if kind == "pytz":
        return needed("pytz").timezone(inner)
    offset_us, *name = inner
    return timezone(_MICROSECOND * offset_us, *name)


def same_zone(one: Any, other: Any) -> bool:
    """Whether two time zones are one, their names included.

    To Python those of one offset are equal, whatever their names.
    """
    return bool(one == other and zone_spec(one) == zone_spec(other))
