"""A bundle within a value: its record, which names a value of its own."""

from __future__ import annotations

from typing import Any

from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value.kind import CannotKeep, Decoder, Encoder, Kind
from bundlerun.bundles.value.nodes import only
from bundlerun.errors import IntegrityError


def _encode(bundle: BundleRecord, encoder: Encoder) -> bytes:
    return b'{"bundle":%s}' % _record(bundle)


def _record(bundle: BundleRecord) -> bytes:
    """A bundle's record.

    Raises CannotKeep when it would not come back equal.
    """
    try:
        record = bundle.to_bytes()
        if BundleRecord.from_bytes(record) == bundle:
            return record
    except (TypeError, ValueError, AttributeError, IntegrityError) as error:
        raise CannotKeep(f"a bundle whose record is malformed ({error!s:.200})") from error
    raise CannotKeep("a bundle whose record does not come back equal")


def _bundle(term: dict[str, Any]) -> BundleRecord:
    return BundleRecord.from_json(only(term, "bundle")["bundle"])


def _decode(term: dict[str, Any], decoder: Decoder) -> BundleRecord:
    return _bundle(term)


def _outline(term: dict[str, Any]) -> dict[str, Any]:
    bundle = _bundle(term)
    return {"type": "bundle", "name": bundle.name, "id": bundle.id}


BUNDLE = Kind(
    tags=("bundle",),
    types=(BundleRecord,),
    # What verbs hand out is a record, and more.
    is_of=lambda value: isinstance(value, BundleRecord),
    encode=_encode,
    decode=_decode,
    root=lambda term: _bundle(term).root,
    outline=_outline,
    on_touch=True,
)
