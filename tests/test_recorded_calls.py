"""The record of calls sees what bundlerun calls, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from bundlerun.aws.session import Aws
from tests import recorded_calls

CALL = ("run", "sts:GetCallerIdentity")


class Answer:
    """What botocore takes for an answer of HTTP."""

    status_code = 200


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An identity of account 123, which asks nobody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    aws = Aws()

    def answer(**_: Any) -> Any:
        return Answer(), {"Account": "123"}

    aws.client("sts").meta.events.register_last("before-call", answer)
    return aws


def test_what_bundlerun_calls_is_recorded(answered: Aws) -> None:
    """By its flow and its operation; what a test itself calls is not."""
    recorded_calls.recorded.discard(CALL)
    answered.client("sts").get_caller_identity()
    assert CALL not in recorded_calls.recorded
    assert answered.account() == "123"
    assert CALL in recorded_calls.recorded


def test_a_call_that_stands_in_no_table_is_told() -> None:
    """One of provisioning in a run, too: the policy of a client does not allow it."""
    calls = [
        ("provision", "s3:GetBucketTagging"),
        ("run", "s3:GetBucketTagging"),
        ("run", "s3:PutBucketAcl"),
    ]
    recorded_calls.recorded.update(calls)
    try:
        assert recorded_calls.unlisted() == calls[1:]
    finally:
        recorded_calls.recorded.difference_update(calls)
