"""Names, tags and contexts are exact."""

from __future__ import annotations

import pytest

from bundlerun.errors import BundleNotFound, ContextNotFound
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

NAMES = [
    "a",
    "A",
    "%",
    "_",
    "*",
    "a%",
    "a_",
    "a*",
    "?",
    "'",
    '"',
    "a'b\"c",
    "a.b",
    "ä",
    "a/b",
    "[a]",
]


def test_each_name_is_its_own_whatever_its_characters(store: Store, context: Context) -> None:
    """No wildcard, no case folding, no quoting trouble."""
    for name in NAMES:
        store.add(context, name, name, commit=True)
    for name in NAMES:
        found = store.catalog.search(context, name=name)
        assert [e.bundle.name for e in found] == [name]
        assert store.value(store.catalog.get(context, name).bundle) == name
    assert [e.bundle.name for e in store.catalog.latest(context)] == sorted(NAMES)
    for name in ("ab", "a%%", "Ä", "a\u0308"):
        with pytest.raises(BundleNotFound):
            store.catalog.get(context, name)


def test_each_tag_is_its_own_whatever_its_characters(store: Store, context: Context) -> None:
    """Keys and values alike; several tags must all fit."""
    for name in NAMES:
        store.add(context, "x", name, tags={name: "v", "k": name, "all": "1"})
    for name in NAMES:
        for tags in ({name: "v"}, {"k": name}, {"all": "1", "k": name, name: "v"}):
            (found,) = store.catalog.search(context, tags=tags)
            assert store.value(found.bundle) == name
            assert store.catalog.get(context, "x", tags=tags) == found
    assert store.catalog.find(context, "x", tags={"k": "a", "A": "v"}) is None
    assert store.catalog.find(context, "y", tags={"k": "a"}) is None


def test_contexts_differ_by_case_and_keep_to_themselves(store: Store) -> None:
    """A name of one context is unknown in the other."""
    lower, upper = store.contexts.create("prod"), store.contexts.create("PROD")
    store.add(lower, "x", 1)
    assert store.catalog.find(upper, "x") is None
    with pytest.raises(ContextNotFound):
        store.contexts.get("Prod")
    with pytest.raises(BundleNotFound, match="'PROD' has no bundle 'x'"):
        store.catalog.get(upper, "x")
