"""Terms: the canonical JSON of single values, exact in type, and back.

None, booleans, texts and integers of 64 bits are JSON's own; all else is an object whose first key
says what it is. Exact types only: a subclass would not come back as what it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bundlerun.bundles.link import Link
from bundlerun.bundles.value.kind import CannotKeep, Decoder, Encoder, Kind, inline_value
from bundlerun.bundles.value.nodes import link_bytes, only
from bundlerun.errors import IntegrityError, SettingsError

LONG_BYTES = 1024
LONG_TEXT = 4096
"""Bytes, and texts as JSON, that are longer are objects of their own."""

_HEX_INT = re.compile(r"-?0x[0-9a-f]+")
_HEX_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-][0-9]+|-?inf|nan")
_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-][0-9]+)?|Infinity|s?NaN[0-9]*)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_MICROSECOND = timedelta(microseconds=1)


def _int(value: int) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return b"%d" % value
    return b'{"int":"%s"}' % hex(value).encode()


def _float(value: float) -> bytes:
    # float.hex is exact, and says "nan", "inf" and "-inf" by itself.
    return b'{"float":"%s"}' % value.hex().encode()


def text_term(value: str) -> bytes:
    """A text as a term.

    Lone surrogates, which UTF-8 does not know, go through base64.
    """
    try:
        return encode_basestring(value).encode()
    except UnicodeEncodeError:
        return b'{"surrogates":"%s"}' % base64.b64encode(text_bytes(value))


def text_bytes(value: str) -> bytes:
    """A text as UTF-8 in which lone surrogates are let through."""
    return value.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The inverse of ``text_bytes``.

    Raises IntegrityError.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"a text is not UTF-8: {error!s:.120}") from error


def _encode_text(value: str, encoder: Encoder) -> bytes:
    encoder.check_text(value)
    term = text_term(value)
    if len(term) <= LONG_TEXT:
        return term
    return b'{"str":%s}' % link_bytes(encoder.put_bytes(text_bytes(value)))


def _bytes(value: bytes) -> bytes:
    return b'{"bytes":"%s"}' % base64.b64encode(value)


def _encode_bytes(value: bytes, encoder: Encoder) -> bytes:
    if len(value) <= LONG_BYTES:
        return _bytes(value)
    return b'{"bytes":%s}' % link_bytes(encoder.put_bytes(value))


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


def base64_bytes(found: Any) -> bytes:
    """The bytes of a base64 text.

    Raises IntegrityError.
    """
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise IntegrityError(f"{found!r:.80} is not base64") from error


def _read_int(term: dict[str, Any]) -> int:
    if not _HEX_INT.fullmatch(only(term, "int")["int"]):
        raise ValueError("no hexadecimal integer")
    return int(term["int"], 16)


def _read_float(term: dict[str, Any]) -> float:
    if not _HEX_FLOAT.fullmatch(only(term, "float")["float"]):
        raise ValueError("no hexadecimal float")
    return float.fromhex(term["float"])


def zone_named(key: Any) -> ZoneInfo:
    """The IANA time zone ``key``.

    Raises SettingsError when this machine does not know it, ValueError or TypeError when it is not
    the name of a zone.
    """
    if not _ZONE.fullmatch(key):
        raise ValueError(f"{key!r:.80} is not the name of a time zone")
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
        zone = timezone(zone.utcoffset(None), inline_value(term["tzname"]))
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


def _read_text(term: dict[str, Any]) -> str:
    return text_of(base64_bytes(only(term, "surrogates")["surrogates"]))


def _decode_text(term: dict[str, Any], decoder: Decoder) -> str:
    if "str" not in term:
        return _read_text(term)
    return text_of(decoder.read(Link.from_json(only(term, "str")["str"])))


def _text_links(term: Mapping[str, Any]) -> tuple[Link, ...]:
    return (Link.from_json(term["str"]),) if "str" in term else ()


def _read_bytes(term: dict[str, Any]) -> bytes:
    return base64_bytes(only(term, "bytes")["bytes"])


def _decode_bytes(term: dict[str, Any], decoder: Decoder) -> bytes:
    links = _bytes_links(only(term, "bytes"))
    return decoder.read(links[0]) if links else _read_bytes(term)


def _bytes_links(term: Mapping[str, Any]) -> tuple[Link, ...]:
    return (Link.from_json(term["bytes"]),) if type(term["bytes"]) is list else ()


def _single(
    kind: type,
    write: Callable[[Any], bytes],
    tag: str | None = None,
    read: Callable[[dict[str, Any]], Any] | None = None,
) -> Kind:
    """A kind that is whole in its term.

    None and booleans stand for themselves and have no tag.
    """
    tags = () if tag is None else (tag,)
    return Kind(tags=tags, types=(kind,), write=write, read=read, is_key=True)


KINDS: Sequence[Kind] = (
    _single(type(None), lambda value: b"null"),
    _single(bool, lambda value: b"true" if value else b"false"),
    _single(int, _int, "int", _read_int),
    _single(float, _float, "float", _read_float),
    Kind(
        tags=("str", "surrogates"),
        types=(str,),
        write=text_term,
        read=_read_text,
        encode=_encode_text,
        decode=_decode_text,
        links=_text_links,
        is_key=True,
    ),
    Kind(
        tags=("bytes",),
        types=(bytes,),
        write=_bytes,
        read=_read_bytes,
        encode=_encode_bytes,
        decode=_decode_bytes,
        links=_bytes_links,
        is_key=True,
    ),
    _single(
        datetime,
        lambda value: _moment("datetime", value),
        "datetime",
        lambda term: _read_moment("datetime", term),
    ),
    _single(
        date,
        lambda value: b'{"date":"%s"}' % value.isoformat().encode(),
        "date",
        lambda term: date.fromisoformat(only(term, "date")["date"]),
    ),
    _single(
        time,
        lambda value: _moment("time", value),
        "time",
        lambda term: _read_moment("time", term),
    ),
    _single(timedelta, _timedelta, "timedelta", _read_timedelta),
    _single(Decimal, _decimal, "decimal", _read_decimal),
)
"""The rows of single values."""
