"""The record of a bundle, read from a place that nobody vouches for."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.errors import IntegrityError

_ID = "01920000-0000-7000-8000-000000000001"
_DIGEST = digest_of(b"some")

FULL = BundleRecord(
    _ID,
    "name",
    Link(_DIGEST, 4),
    {"p": "1"},
    {"t": "2"},
    Lineage(
        pipe="pkg.mod.Pipe",
        parents=(Parent("external:x", "other", _ID, _DIGEST),),
        code=CodeVersion(_DIGEST, "abc", True, {"pkg/mod.py": "0123"}),
        image="sha256:aa",
        run=_ID,
        task=ReuseKey({"pipe": "pkg.mod.Pipe"}),
        request=ReuseKey({"image": "i"}),
        started_s=1.5,
        finished_s=2,
    ),
)


def test_a_full_record_comes_back_equal() -> None:
    """Every field, and the same bytes."""
    found = BundleRecord.from_bytes(FULL.to_bytes())
    assert found == FULL
    assert found.to_bytes() == FULL.to_bytes()


PLACES = [
    *(("id",), ("name",), ("root",), ("params",), ("params", "p"), ("tags",), ("tags", "t")),
    *(("lineage",), ("lineage", "pipe"), ("lineage", "parents"), ("lineage", "parents", 0)),
    *(("lineage", "parents", 0, 1), ("lineage", "parents", 0, 3), ("lineage", "code")),
    *(("lineage", "code", "source"), ("lineage", "code", "dirty"), ("lineage", "code", "files")),
    *(("lineage", "image"), ("lineage", "run"), ("lineage", "task"), ("lineage", "task", "pipe")),
    *(("lineage", "started_s"), ("lineage", "finished_s")),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "/".join(map(str, place)))
def test_a_field_of_another_type_is_damage_and_is_named(place: tuple[Any, ...]) -> None:
    """A text, a number, a list, an object and a truth, where something else must stand."""
    right: Any = FULL.to_json()
    for step in place:
        right = right[step]
    refused = 0
    for wrong in ("text", 7, ["x"], {"x": 1}, True):
        if type(wrong) is type(right) or (type(right) is float and wrong == 7):
            continue
        found = json.loads(FULL.to_bytes())
        inner: Any = found
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = wrong
        with pytest.raises(IntegrityError):
            BundleRecord.from_bytes(json.dumps(found).encode())
        refused += 1
    assert refused >= 3


@pytest.mark.parametrize("key", ["id", "name", "root", "params", "tags", "lineage"])
def test_a_field_that_is_absent_is_named(key: str) -> None:
    """By its name."""
    found = json.loads(FULL.to_bytes())
    del found[key]
    with pytest.raises(IntegrityError, match=f"not a bundle record: it lacks '{key}'"):
        BundleRecord.from_bytes(json.dumps(found).encode())


def test_ids_of_one_process_are_in_the_order_in_which_they_were_made() -> None:
    """Also within a millisecond."""
    made = []
    for _ in range(200):
        made.append(new_id())
        time.sleep(1e-6)
    assert made == sorted(made)
