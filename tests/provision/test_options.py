"""What cannot be meant is refused before any call, with the cure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundlerun.errors import UsageError
from bundlerun.provision.options import (
    KnotOptions,
    ParsOptions,
    differences,
    from_json,
    to_json,
)

BAD_PARS: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "Lab"},
    {"name": "a--b"},
    {"name": "x" * 33},
    {"name": 7},
    {"vpc": "mine"},
    {"vpc": None},
    {"vpc": "new", "cidr": "10.0.0.0/8"},
    {"vpc": "new", "cidr": "10.0.0.1/16"},
    {"vpc": "new", "cidr": "a.b/16"},
    {"vpc": "new", "cidr": "10.0.0.0"},
    {"cidr": "10.0.0.0/16"},
    {"vpc": "vpc-0123abcd", "tenancy": "dedicated"},
    {"vpc": "new", "tenancy": "host"},
    {"policies": "AmazonS3FullAccess"},
    {"policies": ["arn:aws:iam::1:policy/x"]},
    {"job_role": "a role"},
    {"instance_role": "arn:aws:s3:::bucket"},
    {"bucket": "UPPER"},
    {"bucket": "ab"},
    {"bucket": "my-bucket/../x"},
    {"tags": ["a"]},
    {"tags": {"aws:x": "1"}},
    {"tags": {"bundlerun:pars": "other"}},
    {"tags": {"a": 1}},
    {"tags": {"a": "x" * 257}},
    {"tags": {f"k{n}": "" for n in range(41)}},
    {"nmae": "lab"},
]
BAD_KNOTS: list[dict[str, Any]] = [
    {"name": "mv_prod"},
    {"pars": "My Pars"},
    {"instance_types": []},
    {"instance_types": ["m6i", "m6g"]},
    {"instance_types": ["M6I"]},
    {"min_vcpus": -1},
    {"min_vcpus": "4"},
    {"min_vcpus": True},
    {"max_vcpus": 0},
    {"min_vcpus": 32},
    {"min_vcpus": 4, "desired_vcpus": 2},
    {"desired_vcpus": 17},
    {"spot": "yes"},
    {"bid_percentage": 50},
    {"spot": True, "bid_percentage": 0},
    {"spot": True, "bid_percentage": 101},
    {"volume_gib": 20},
    {"volume_gib": 20_000},
    {"volume_gib": 100.5},
    {"volume_type": "io2"},
    {"image_id": "ubuntu"},
    {"key_pair": ""},
    {"priority": 1001},
    {"queue_name": "a queue"},
    {"compute_environment_name": "-x"},
    {"job_definition_name": "x" * 129},
    {"repository": "Team/Model"},
    {"repository": "x"},
    {"vcpus": 0},
    {"vcpus": 32},
    {"memory_mib": 0},
    {"gpus": 1},
    {"gpus": -1},
    {"retries": -1},
    {"timeout_s": 0},
    {"max_vcpus": None},
    {"image": "x", "requirements": ["numpy"]},
    {"func": len, "script_path": "fit.sh"},
    {"func": "fit"},
    {"n_gpus": 1},
]


@pytest.mark.parametrize("bad", BAD_PARS, ids=str)
def test_a_pars_that_cannot_be_meant_is_refused(bad: dict[str, Any]) -> None:
    """With what to type instead."""
    with pytest.raises(UsageError) as raised:
        ParsOptions.of(**{"name": "lab", **bad})
    assert raised.value.hint


@pytest.mark.parametrize("bad", BAD_KNOTS, ids=str)
def test_a_knot_that_cannot_be_meant_is_refused(bad: dict[str, Any]) -> None:
    """With what to type instead."""
    with pytest.raises(UsageError) as raised:
        KnotOptions.of(**{"name": "k1", **bad})
    assert raised.value.hint


@pytest.mark.parametrize(
    "good",
    [
        {"gpus": 1, "instance_types": ["g5"]},
        {"gpus": 0},
        {"retries": 0},
        {"vcpus": None, "timeout_s": None},
        {"volume_gib": 8, "image_id": "ami-0123abcd"},
        {"instance_types": "c6i"},
        {"instance_types": ["g4dn.xlarge", "p4d", "r5ad"]},
    ],
    ids=str,
)
def test_what_can_be_meant_is_taken(good: dict[str, Any]) -> None:
    """Zero is zero, None is none."""
    made = KnotOptions.of("k1", **good)
    assert made.given == good.keys()
    assert made.platform == "linux/amd64"


@pytest.mark.parametrize("arm", ["m6g", "t4g.small", "c7gn", "im4gn", "g5g", "a1.large"])
def test_arm_machines_want_arm_images(arm: str) -> None:
    """By the name of their type."""
    assert KnotOptions.of("k1", instance_types=[arm]).platform == "linux/arm64"


@pytest.mark.parametrize("bucket", ["b-1/data/x", "s3://b-1/data/x", "s3://b-1/data/x/"])
def test_a_bucket_has_one_form(bucket: str) -> None:
    """That of a remote."""
    assert ParsOptions.of("lab", bucket=bucket).bucket == "s3://b-1/data/x"


def test_options_come_back_from_their_stack() -> None:
    """Through JSON; those of one process do not travel."""
    pars = ParsOptions.of("lab", policies=["ReadOnlyAccess"], tags={"a": "b"})
    assert from_json(ParsOptions, json.loads(json.dumps(to_json(pars)))) == pars
    knot = KnotOptions.of("k1", func=len, instance_types=["m6i"], no_cache=True)
    back = from_json(KnotOptions, json.loads(json.dumps(to_json(knot))))
    assert (back.instance_types, back.func, back.no_cache) == (("m6i",), None, False)


def test_what_another_version_did_not_know_has_its_default() -> None:
    """And what this one does not know is no harm."""
    assert from_json(KnotOptions, {"name": "k1", "later": 1}) == KnotOptions.of("k1")


def test_only_what_was_asked_for_can_differ() -> None:
    """Both are shown."""
    found = KnotOptions.of("k1", spot=True, memory_mib=4096)
    assert differences(KnotOptions.of("k1"), found) == ()
    (row,) = differences(KnotOptions.of("k1", memory_mib=2048, spot=True), found)
    assert str(row) == "memory_mib: asked 2048, found 4096"


def test_another_function_is_no_difference() -> None:
    """An edited function needs no other queue."""
    assert differences(KnotOptions.of("k1", func=len), KnotOptions.of("k1", func=sum)) == ()


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("my_lab", "my-lab"),
        ("Lab", "lab"),
        ("2nd lab!", "nd-lab"),
        ("x" * 40, "x" * 32),
        (7, "lab"),
    ],
)
def test_a_name_that_cannot_be_is_answered_by_the_nearest(given: Any, near: str) -> None:
    """And what is proposed is taken."""
    with pytest.raises(UsageError) as raised:
        KnotOptions.of(given)
    assert raised.value.hint == f"name={near!r}"
    assert KnotOptions.of(near).name == near
    with pytest.raises(UsageError) as raised:
        KnotOptions.of("lab", pars=given)
    assert raised.value.hint == f"pars={near!r}"


def test_an_option_that_is_mistyped_is_answered_by_the_one_that_is_near() -> None:
    """One line, and not all that there are."""
    with pytest.raises(UsageError, match="did you mean 'max_vcpus'") as raised:
        KnotOptions.of("lab", max_vcpu=3)
    assert raised.value.hint == "help(bundlerun.Knot)"
    with pytest.raises(UsageError, match="'colour' is not an option of a Pars") as raised:
        ParsOptions.of("lab", colour="red")
    assert "did you mean" not in raised.value.message
