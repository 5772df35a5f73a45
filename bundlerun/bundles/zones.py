"""Time zones of pandas' columns, indexes and timestamps as JSON, and back, own names included."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from bundlerun.bundles.needed import needed
from bundlerun.bundles.terms import CannotKeep, zone_named

_MICROSECOND = timedelta(microseconds=1)


def zone_spec(zone: Any) -> Any:
    """A zone as JSON: zoneinfo's and pytz' by name, a ``datetime.timezone`` by its offset and the
    name that somebody gave it. Raises CannotKeep."""
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
    """The inverse of ``zone_spec``. Raises ValueError, TypeError or AttributeError for what it does
    not write, SettingsError for a zone that this machine does not know."""
    ((kind, inner),) = spec.items()
    if kind == "zone":
        return zone_named(inner)
    if kind == "pytz":
        return needed("pytz").timezone(inner)
    offset_us, *name = inner
    return timezone(_MICROSECOND * offset_us, *name)


def same_zone(one: Any, other: Any) -> bool:
    """Whether two zones are one: to Python those of one offset are equal, whatever their names."""
    return bool(one == other and zone_spec(one) == zone_spec(other))
