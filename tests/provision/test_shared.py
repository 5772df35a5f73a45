"""What a Pars or a Knot made and others use stays while they do."""

from __future__ import annotations

from typing import Any

import pytest

from bundlerun.errors import Conflict
from bundlerun.provision.ensure import knot_stack, pars_stack
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.orphans import orphans, remove
from tests.provision.conftest import Account, CountedAws

pytestmark = pytest.mark.heavy


def served_stack(name: str) -> Any:
    """A stack of the sandbox, by its name."""
    from moto.cloudformation.models import cloudformation_backends

    from bundlerun.sandbox.contents import ACCOUNT, REGION

    stacks = cloudformation_backends[ACCOUNT][REGION].stacks
    return next(stack for stack in stacks.values() if stack.name == name)


def lose(name: str) -> None:
    """Have the account lose a stack, and keep all that it made."""
    from moto.cloudformation.models import cloudformation_backends

    from bundlerun.sandbox.contents import ACCOUNT, REGION

    del cloudformation_backends[ACCOUNT][REGION].stacks[served_stack(name).stack_id]


def test_a_pars_stays_while_a_knot_of_it_is_made(account: Account) -> None:
    """A stack that is being made has no outputs yet; the Knot's options say whose it is."""
    client = account.provision()
    made = client.ensure_pars(ParsOptions.of(account.name))
    client.ensure_knot(KnotOptions.of(account.name, pars=account.name), made.outputs)
    served_stack(knot_stack(account.name)).status = "CREATE_IN_PROGRESS"
    before = account.all()
    try:
        assert client.knots_of(account.name) == [account.name]
        with pytest.raises(Conflict, match=f"used by {account.name}"):
            client.delete_pars(account.name, bucket=True)
    finally:
        served_stack(knot_stack(account.name)).status = "CREATE_COMPLETE"
    assert account.all() == before


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"])
@pytest.mark.parametrize("again", [False, True])
def test_a_repository_that_another_knot_uses_stays(
    account: Account, status: str, again: bool
) -> None:
    """The Knot that made it goes, and its images do not: jobs of the other one pull them."""
    client, shared = account.provision(), f"team/{account.name}"
    made = client.ensure_pars(ParsOptions.of(account.name))
    maker, _ = (
        client.ensure_knot(KnotOptions.of(name, pars=account.name, repository=shared), made.outputs)
        for name in (account.name, f"{account.name}-2")
    )
    served_stack(knot_stack(f"{account.name}-2")).status = status
    try:
        if again:
            client.delete_knot(account.name)
        left = client.delete_knot(account.name, repository=True, made=maker)
        (told,) = [each for each in left if each.id == shared]
        assert f"the Knot {account.name}-2 uses it" in told.why
        assert f"repositories: {shared}" in account.all()
    finally:
        served_stack(knot_stack(f"{account.name}-2")).status = "CREATE_COMPLETE"
        client.delete_knot(f"{account.name}-2", repository=True)


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"])
def test_a_bucket_that_another_pars_uses_stays(account: Account, status: str) -> None:
    """The Pars that made it goes, and the data do not."""
    client = account.provision()
    made = client.ensure_pars(ParsOptions.of(account.name))
    bucket = made.outputs.bucket
    account.client("s3").put_object(Bucket=bucket, Key="theirs/key", Body=b"x")
    other = f"{account.name}-2"
    client.ensure_pars(ParsOptions.of(other, bucket=f"{bucket}/theirs"))
    served_stack(pars_stack(other)).status = status
    try:
        (told,) = client.delete_pars(account.name, bucket=True)
        assert told.id == bucket
        assert f"the Pars {other} uses it" in told.why
        (told,) = client.delete_pars(account.name, bucket=True, own=bucket)
        assert f"the Pars {other} uses it" in told.why
        assert account.client("s3").get_object(Bucket=bucket, Key="theirs/key")["Body"].read()
    finally:
        served_stack(pars_stack(other)).status = "CREATE_COMPLETE"
        client.delete_pars(other)


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"])
def test_what_a_knot_uses_of_a_lost_pars_is_no_orphan(account: Account, status: str) -> None:
    """Its jobs use the bucket, the roles and the network, whose stack was deleted outside."""
    client = account.provision()
    made = client.ensure_pars(ParsOptions.of(account.name, vpc="new"))
    client.ensure_knot(KnotOptions.of(account.name, pars=account.name), made.outputs)
    account.client("s3").put_object(Bucket=made.outputs.bucket, Key="key", Body=b"x")
    served_stack(knot_stack(account.name)).status = status
    lose(pars_stack(account.name))
    before = account.all()
    try:
        found = [e for e in orphans(CountedAws()).found if e.owner.endswith(account.name)]
        assert found == []
    finally:
        served_stack(knot_stack(account.name)).status = "CREATE_COMPLETE"
    client.delete_knot(account.name, repository=True)
    found = [e for e in orphans(CountedAws()).found if e.owner.endswith(account.name)]
    assert remove(CountedAws(), found, data=True, sleep=lambda _: None) == ()
    assert not {each for each in before & account.all() if account.name in each}


def test_what_a_stack_in_creation_adopts_is_no_orphan(account: Account) -> None:
    """A repository that an earlier Knot left is a new Knot's from its beginning on."""
    client, shared = account.provision(), f"team/{account.name}"
    made = client.ensure_pars(ParsOptions.of(account.name))
    options = KnotOptions.of(account.name, pars=account.name, repository=shared)
    client.ensure_knot(options, made.outputs)
    client.delete_knot(account.name)
    other = f"{account.name}-2"
    options = KnotOptions.of(other, pars=account.name, repository=shared)
    client.ensure_knot(options, made.outputs)
    served_stack(knot_stack(other)).status = "CREATE_IN_PROGRESS"
    try:
        found = [e for e in orphans(CountedAws()).found if e.owner.endswith(account.name)]
        assert found == []
    finally:
        served_stack(knot_stack(other)).status = "CREATE_COMPLETE"
        client.delete_knot(other)
    found = [e for e in orphans(CountedAws()).found if e.owner.endswith(account.name)]
    assert [each.id for each in found] == [shared]
    assert remove(CountedAws(), found, data=True, sleep=lambda _: None) == ()
