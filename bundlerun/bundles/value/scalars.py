"""Terms: the canonical JSON of single values, exact in type, and back.

None, booleans, texts and integers of 64 bits are JSON's own; all else is an object whose first key
says what it is. Exact types only: a subclass would not come back as what it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bundlerun.bundles.value.nodes import only
from bundlerun.errors import IntegrityError, SettingsError

MAX_DEPTH = 100
"""Containers within containers."""

FLATTER = "a flatter value, or its text: json.dumps(value)"
"""What to do with a value that is nested deeper."""

MAX_VALUES = 1 << 24
"""Single values in one bundle. What has more is a table, an array or a file; and a small hostile
value cannot unfold to fill the memory."""

_HEX_INT = re.compile(r"-?0x[0-9a-f]+")
_HEX_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-][0-9]+|-?inf|nan")
_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-][0-9]+)?|Infinity|s?NaN[0-9]*)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_BARE = "collections.Counter(dict(value)), with the attributes beside it"
_MICROSECOND = timedelta(microseconds=1)
_MALFORMED = (ValueError, TypeError, KeyError, ArithmeticError, AttributeError)


class CannotKeep(Exception):
    """Why a value cannot be kept; whoever knows its path in the tree makes a BadValue of it."""

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def _int(value: int) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return b"%d" % value
    return b'{"int":"%s"}' % hex(value).encode()


def _float(value: float) -> bytes:
    # float.hex is exact, and says "nan", "inf" and "-inf" by itself.
    return b'{"float":"%s"}' % value.hex().encode()


def text_term(value: str) -> bytes:
    """A text as a term. Lone surrogates, which UTF-8 does not know, go through base64."""
    try:
        return encode_basestring(value).encode()
    except UnicodeEncodeError:
        return b'{"surrogates":"%s"}' % base64.b64encode(text_bytes(value))


def text_bytes(value: str) -> bytes:
    """A text as UTF-8 in which lone surrogates are let through."""
    return value.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The inverse of ``text_bytes``. Raises IntegrityError."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"a text is no UTF-8: {error!s:.120}") from error


def _bytes(value: bytes) -> bytes:
    return b'{"bytes":"%s"}' % base64.b64encode(value)


def _moment(tag: str, value: datetime | time) -> bytes:
    parts = [f'"{tag}":{{}}']
    zone = value.tzinfo
    if value.fold:
        parts.append('"fold":1')
    if type(zone) is ZoneInfo:
        if zone.key is None:
            raise CannotKeep(
                "a time zone that was read from a file has no name to keep",
                hint="zoneinfo.ZoneInfo(name)",
            )
        parts.append('"zone":' + encode_basestring(zone.key))
        value = value.replace(tzinfo=None)
    elif type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        if offset.microseconds:
            # fromisoformat takes less than a second off UTC for UTC.
            parts.append(f'"offset_us":{offset // _MICROSECOND}')
            value = value.replace(tzinfo=None)
        if name:
            parts.append('"tzname":' + text_term(name[0]).decode())
    elif zone is not None:
        raise CannotKeep(
            f"a time zone of type {type(zone).__module__}.{type(zone).__qualname__}",
            hint="zoneinfo.ZoneInfo(name)",
        )
    parts[0] = f'"{tag}":"{value.isoformat()}"'
    return ("{" + ",".join(parts) + "}").encode()


def _timedelta(value: timedelta) -> bytes:
    return b'{"timedelta":[%d,%d,%d]}' % (value.days, value.seconds, value.microseconds)


def _decimal(value: Decimal) -> bytes:
    # str is exact, digits and exponent, whatever the context's precision.
    text = str(value)
    if not _DECIMAL.fullmatch(text):
        raise CannotKeep(f"the decimal.Decimal {text:.80}", hint="str(value)")
    return b'{"decimal":"%s"}' % text.encode()


SCALARS: Mapping[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"null",
    bool: lambda value: b"true" if value else b"false",
    int: _int,
    float: _float,
    str: text_term,
    bytes: _bytes,
    datetime: lambda value: _moment("datetime", value),
    date: lambda value: b'{"date":"%s"}' % value.isoformat().encode(),
    time: lambda value: _moment("time", value),
    timedelta: _timedelta,
    Decimal: _decimal,
}
"""How each single value is written. Each raises CannotKeep."""

PLAIN = (str, int, bool, type(None))
"""What stands for itself in JSON."""

SEQUENCES: Mapping[str, type] = {"list": list, "tuple": tuple}
MAPPINGS: Mapping[str, type] = {"dict": dict, "Counter": Counter}
CONTAINERS: Mapping[str, type] = {**SEQUENCES, **MAPPINGS}
"""What has parts, by the tag of its term. A mapping is made of a dict of its entries."""

CONTAINER_TAGS: Mapping[type, str] = {kind: tag for tag, kind in CONTAINERS.items()}


def check_bare(value: Any) -> None:
    """Raises CannotKeep for a Counter that somebody set attributes on: they would be lost."""
    if getattr(value, "__dict__", None):
        names = ", ".join(map(repr, value.__dict__))
        raise CannotKeep(f"a {type(value).__name__} with attributes ({names:.80})", hint=_BARE)


def base64_bytes(found: Any) -> bytes:
    """The bytes of a base64 text. Raises IntegrityError."""
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise IntegrityError(f"{found!r:.80} is no base64") from error


def _read_int(term: dict[str, Any]) -> int:
    if not _HEX_INT.fullmatch(only(term, "int")["int"]):
        raise ValueError("no hexadecimal integer")
    return int(term["int"], 16)


def _read_float(term: dict[str, Any]) -> float:
    if not _HEX_FLOAT.fullmatch(only(term, "float")["float"]):
        raise ValueError("no hexadecimal float")
    return float.fromhex(term["float"])


def zone_named(key: Any) -> ZoneInfo:
    """The IANA zone ``key``. Raises SettingsError when this machine does not know it, ValueError
    or TypeError when it is no zone's name at all."""
    if not _ZONE.fullmatch(key):
        raise ValueError(f"{key!r:.80} is no name of a time zone")
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError) as error:
        # OSError: the database has a folder of that name ("Europe").
        raise SettingsError(
            f"the value has the time zone {key!r:.80}, which this machine does not know",
            hint="pip install --upgrade tzdata",
        ) from error


def _read_moment(tag: str, term: dict[str, Any]) -> datetime | time:
    only(term, tag, optional=frozenset({"fold", "zone", "offset_us", "tzname"}))
    kind: type[datetime] | type[time] = datetime if tag == "datetime" else time
    found = kind.fromisoformat(term[tag])
    zone: tzinfo | None = found.tzinfo
    if sum((zone is not None, "zone" in term, "offset_us" in term)) > 1:
        raise ValueError("two time zones")
    if "offset_us" in term:
        if type(term["offset_us"]) is not int:
            raise TypeError("no integer")
        zone = timezone(_MICROSECOND * term["offset_us"])
    if "zone" in term:
        zone = zone_named(term["zone"])
    if "tzname" in term:
        if type(zone) is not timezone:
            raise ValueError("a zone's name without its offset")
        zone = timezone(zone.utcoffset(None), scalar(term["tzname"]))
    if term.get("fold", 1) != 1:
        raise ValueError("fold is 1 or left out")
    return found.replace(tzinfo=zone, fold=1 if "fold" in term else 0)


def _read_timedelta(term: dict[str, Any]) -> timedelta:
    days, seconds, micros = only(term, "timedelta")["timedelta"]
    if any(type(each) is not int for each in (days, seconds, micros)):
        raise TypeError("no integers")
    return timedelta(days, seconds, micros)


def _read_decimal(term: dict[str, Any]) -> Decimal:
    text = only(term, "decimal")["decimal"]
    # Beyond Python's own limits a text becomes another number.
    if not _DECIMAL.fullmatch(text) or str(Decimal(text)) != text:
        raise ValueError("no decimal")
    return Decimal(text)


_READERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "int": _read_int,
    "float": _read_float,
    "surrogates": lambda term: text_of(base64_bytes(only(term, "surrogates")["surrogates"])),
    "bytes": lambda term: base64_bytes(only(term, "bytes")["bytes"]),
    "datetime": lambda term: _read_moment("datetime", term),
    "date": lambda term: date.fromisoformat(only(term, "date")["date"]),
    "time": lambda term: _read_moment("time", term),
    "timedelta": _read_timedelta,
    "decimal": _read_decimal,
}


def tag_of(term: Any) -> str:
    """What a term is: its first key. Raises IntegrityError for what is no object with a key."""
    if type(term) is not dict or not term:
        raise IntegrityError(f"a part of a value is malformed: {term!r:.120}")
    tag: str = next(iter(term))
    return tag


def is_scalar(tag: str) -> bool:
    """Whether ``scalar`` reads terms of this tag."""
    return tag in _READERS


def scalar(term: Any) -> Any:
    """The single value of a term. Raises IntegrityError for all else, SettingsError for a time
    zone that this machine does not know."""
    if type(term) in PLAIN:
        return term
    read = _READERS.get(tag_of(term))
    if read is None:
        raise IntegrityError(f"a part of a value is malformed: {term!r:.120}")
    try:
        return read(term)
    except _MALFORMED as error:
        raise IntegrityError(f"a part of a value is malformed: {term!r:.120}") from error
