"""What the stacks that exist use, those that are still being made among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bundlerun.provision.stacks import Stack, Stacks
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG
from bundlerun.remotes.s3 import bucket_and_prefix


def owner_of(stack: Stack) -> str:
    """Whose a stack is, as "Knot lab"; empty for one that bundlerun did not make."""
    kinds = {"Knot": KNOT_TAG, "Pars": PARS_TAG}
    told = (f"{kind} {stack.tags[tag]}" for kind, tag in kinds.items() if tag in stack.tags)
    return next(told, "")


def knots_of(stacks: Stacks, pars: str) -> list[str]:
    """The names of the Knots that use a Pars, sorted."""
    return sorted(
        each.tags[KNOT_TAG]
        for each in stacks.all()
        if KNOT_TAG in each.tags and stacks.outputs(each).get("Pars") == pars
    )


def repository_users(stacks: Stacks, repository: str, but: str) -> list[str]:
    """The Knots with images in a repository, but ``but``, as "Knot lab"."""
    return [
        owner
        for owner, outputs in _others(stacks, but)
        if owner.startswith("Knot ") and outputs.get("Repository") == repository
    ]


def bucket_users(stacks: Stacks, bucket: str, but: str) -> list[str]:
    """The Pars and the Knots with data in a bucket, but ``but``, as "Pars lab"."""
    return [
        owner
        for owner, outputs in _others(stacks, but)
        if "Remote" in outputs and bucket_and_prefix(outputs["Remote"])[0] == bucket
    ]


def _others(stacks: Stacks, but: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for each in stacks.all():
        owner = owner_of(each)
        if owner and owner != but:
            yield owner, stacks.outputs(each)
