"""From options to what stands on AWS: found again, or made where it is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.aws import batch, cloudformation
from bundlerun.aws.buckets import bucket_tags, delete_bucket
from bundlerun.aws.ecr import delete_repository, repository_tags
from bundlerun.aws.session import Aws
from bundlerun.errors import Conflict, NotFound
from bundlerun.progress import SILENT, Progress
from bundlerun.provision import adopt, users
from bundlerun.provision.knot_template import ParsOutputs, knot_template
from bundlerun.provision.options import (
    DEFAULT_PARS,
    KnotOptions,
    ParsOptions,
    T,
    differences,
    from_json,
)
from bundlerun.provision.pars_template import pars_template
from bundlerun.provision.stacks import KEPT, Left, Stack, Stacks, Wanted, down_command
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG

ADOPTED = "it was there before"

_REPOSITORY, _BUCKET = "AWS::ECR::Repository", "AWS::S3::Bucket"


@dataclass(frozen=True)
class KnotOutputs:
    """What a Knot made: the outputs of its stack, names where Batch takes names.

    ``job_role`` is an ARN, ``remote`` is ``s3://BUCKET/PREFIX``; ``remote_only``: the role may
    read and write there, and nothing else.
    """

    queue: str
    compute_environment: str
    log_group: str
    job_definition: str
    repository: str
    job_role: str
    remote: str
    remote_only: bool

    @classmethod
    def of(cls, outputs: Mapping[str, str]) -> KnotOutputs:
        """The outputs of a stack."""
        return cls(
            queue=outputs["Queue"],
            compute_environment=outputs["ComputeEnvironment"],
            log_group=outputs["LogGroup"],
            job_definition=outputs["JobDefinition"],
            repository=outputs["Repository"],
            job_role=outputs["JobRole"],
            remote=outputs["Remote"],
            remote_only=outputs["RemoteOnly"] == "true",
        )


@dataclass(frozen=True)
class ParsMade:
    """A Pars that stands, with the options it was made of."""

    options: ParsOptions
    outputs: ParsOutputs
    stack_id: str


@dataclass(frozen=True)
class KnotMade:
    """A Knot that stands, with the options it was made of."""

    options: KnotOptions
    outputs: KnotOutputs
    stack_id: str


def pars_stack(name: str) -> str:
    """The name of the stack of a Pars."""
    return f"bundlerun-pars-{name}"


def knot_stack(name: str) -> str:
    """The name of the stack of a Knot."""
    return f"bundlerun-knot-{name}"


class Provision:
    """The Pars and the Knots of one identity in one region."""

    def __init__(
        self,
        aws: Aws,
        *,
        progress: Progress = SILENT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self.stacks = Stacks(aws, progress=progress, sleep=sleep)

    def ensure_pars(self, options: ParsOptions) -> ParsMade:
        """The Pars of these options, made where it is missing.

        Raises Conflict where it was made of others, and shows both; CloudError with the first
        thing that cannot be made, and nothing is left then; NotFound where something named does
        not exist.
        """

        def template() -> dict[str, Any]:
            return pars_template(options, adopt.for_pars(self._aws, options))

        wanted = Wanted(pars_stack(options.name), {PARS_TAG: options.name}, template)
        stack, is_new = self.stacks.ensure(wanted)
        made = options if is_new else self._agreed(options, stack)
        return ParsMade(made, ParsOutputs.of(stack.outputs), stack.id)

    def ensure_knot(self, options: KnotOptions, pars: ParsOutputs | None = None) -> KnotMade:
        """The Knot of these options, made where it is missing.

        ``pars`` are the outputs of its Pars, where they are known. The Pars "default" is made where
        it is missing as well. Raises as ``ensure_pars`` does, and NotFound where another Pars does
        not exist.
        """

        def template() -> dict[str, Any]:
            shared = pars or self._pars_of(options)
            return knot_template(options, shared, adopt.for_knot(self._aws, options))

        tags = {KNOT_TAG: options.name}
        wanted = Wanted(knot_stack(options.name), tags, template)
        stack, is_new = self.stacks.ensure(wanted)
        made = options if is_new else self._agreed(options, stack)
        return KnotMade(made, KnotOutputs.of(stack.outputs), stack.id)

    def find_pars(self, name: str) -> ParsMade | None:
        """The Pars of this name; None without one that is whole."""
        stack = self.stacks.find(pars_stack(name))
        if stack is None or not stack.is_made:
            return None
        options = from_json(ParsOptions, self.stacks.options(stack))
        return ParsMade(options, ParsOutputs.of(stack.outputs), stack.id)

    def get_pars(self, name: str) -> ParsMade:
        """The Pars of this name.

        Raises NotFound.
        """
        found = self.find_pars(name)
        if found is None:
            raise NotFound(f"there is no Pars {name}", hint=f"br.Pars({name!r})")
        return found

    def _pars_of(self, options: KnotOptions) -> ParsOutputs:
        if options.pars == DEFAULT_PARS:
            return self.ensure_pars(ParsOptions.of(DEFAULT_PARS)).outputs
        return self.get_pars(options.pars).outputs

    def find_knot(self, name: str) -> KnotMade | None:
        """The Knot of this name; None without one that is whole."""
        stack = self.stacks.find(knot_stack(name))
        if stack is None or not stack.is_made:
            return None
        options = from_json(KnotOptions, self.stacks.options(stack))
        return KnotMade(options, KnotOutputs.of(stack.outputs), stack.id)

    def agreed_knot(self, options: KnotOptions) -> KnotMade | None:
        """The Knot of these options; None without one that is whole.

        Raises Conflict where it was made of others, and shows both.
        """
        stack = self.stacks.find(knot_stack(options.name))
        if stack is None or not stack.is_made:
            return None
        return KnotMade(self._agreed(options, stack), KnotOutputs.of(stack.outputs), stack.id)

    def knots_of(self, pars: str) -> list[str]:
        """The names of the Knots that use a Pars, sorted; those being made are among them."""
        return users.knots_of(self.stacks, pars)

    def delete_knot(
        self, name: str, *, repository: bool = False, made: KnotMade | None = None
    ) -> tuple[Left, ...]:
        """End a Knot's jobs, forget their definitions, delete it; what remains, and why.

        What it adopted remains, and its repository unless ``repository``; the images go with it.
        ``made``: that one alone, and not another that has its name by now; of one that is gone the
        repository is looked at. Without it nothing remains of one that is not there.
        """
        stack = self.stacks.find(knot_stack(name) if made is None else made.stack_id)
        if stack is None or stack.is_gone:
            if made is None or self.stacks.find(knot_stack(name)) is not None:
                return ()
            return self._rest_of_knot(name, made.outputs.repository, repository=repository)
        self._check_owner(stack, KNOT_TAG, name)
        if stack.is_made:
            self._end_jobs(stack.outputs["Queue"])
            self._forget_definitions(stack.outputs["JobDefinition"], name)
        adopted = self._adopted(stack, {"Repository": (_REPOSITORY, "Repository")})
        left = (*self.stacks.delete(stack.id), *adopted)
        own = stack.outputs.get("Repository", "")
        looks = repository or Left(_REPOSITORY, own, ADOPTED) in left
        if not looks or repository_tags(self._aws, own).get(KNOT_TAG) != name:
            return left
        rest = self.delete_images(name, own) if repository else (Left(_REPOSITORY, own, KEPT),)
        # An earlier one of its name made it: it was not there before bundlerun.
        return (*_without(left, _REPOSITORY, own), *rest)

    def delete_images(self, name: str, own: str) -> tuple[Left, ...]:
        """Delete the repository that the Knot ``name`` made; what remains, and why.

        It remains while other Knots use it; one of another owner is not touched.
        """
        return self._rest_of_knot(name, own, repository=True)

    def _rest_of_knot(self, name: str, own: str, *, repository: bool) -> tuple[Left, ...]:
        if repository_tags(self._aws, own).get(KNOT_TAG) != name:
            return ()
        others = users.repository_users(self.stacks, own, f"Knot {name}")
        if others or not repository:
            return (Left(_REPOSITORY, own, _kept_for(others)),)
        delete_repository(self._aws, own)
        return ()

    def delete_pars(
        self, name: str, *, bucket: bool = False, own: str | None = None
    ) -> tuple[Left, ...]:
        """Delete a Pars; what remains, and why.

        What it adopted remains, and its bucket unless ``bucket``; the data go with it, and cannot
        be brought back. ``own`` is the name of the bucket, which is looked at where the Pars is
        gone; without it nothing remains of one that is not there. Raises Conflict while a Knot uses
        it.
        """
        stack = self.stacks.find(pars_stack(name))
        if stack is None:
            return () if own is None else self._rest_of_pars(name, own, bucket=bucket)
        self._check_owner(stack, PARS_TAG, name)
        knots = self.knots_of(name)
        if knots:
            raise Conflict(
                f"the Pars {name} is used by {', '.join(knots)}",
                hint=f"bundlerun aws down {knots[0]}",
            )
        adopted = self._adopted(stack, _PARS_THINGS)
        left = (*self.stacks.delete(stack.id), *adopted)
        own = stack.outputs.get("Bucket", "")
        looks = bucket or Left(_BUCKET, own, ADOPTED) in left
        if not looks or bucket_tags(self._aws, own).get(PARS_TAG) != name:
            return left
        rest = self.delete_data(name, own) if bucket else (Left(_BUCKET, own, KEPT),)
        # An earlier one of its name made it: it was not there before bundlerun.
        return (*_without(left, _BUCKET, own), *rest)

    def delete_data(self, name: str, own: str) -> tuple[Left, ...]:
        """Delete the bucket that the Pars ``name`` made; what remains, and why.

        It remains while another Pars or a Knot uses it; one of another owner is not touched.
        """
        return self._rest_of_pars(name, own, bucket=True)

    def _rest_of_pars(self, name: str, own: str, *, bucket: bool) -> tuple[Left, ...]:
        if bucket_tags(self._aws, own).get(PARS_TAG) != name:
            return ()
        others = users.bucket_users(self.stacks, own, f"Pars {name}")
        if others or not bucket:
            return (Left(_BUCKET, own, _kept_for(others)),)
        delete_bucket(self._aws, own)
        return ()

    def _agreed(self, options: T, stack: Stack) -> T:
        """The options of a stack that exists, where they agree with what is asked for."""
        found = from_json(type(options), self.stacks.options(stack))
        different = differences(options, found)
        if different:
            kind = type(options).__name__.removesuffix("Options")
            raise Conflict(
                f"the {kind} {options.name} was made of other options: "
                + "; ".join(map(str, different)),
                hint=f"another name, without them, or {down_command(stack.name)} first",
            )
        return found

    def _check_owner(self, stack: Stack, tag: str, name: str) -> None:
        if stack.tags.get(tag) != name:
            raise Conflict(
                f"the stack {stack.name} was not made by bundlerun: nothing was deleted",
                hint=f"aws cloudformation describe-stacks --stack-name {stack.name}",
            )

    def _end_jobs(self, queue: str) -> None:
        client = self._aws.client("batch")
        if not batch.describe_queues(client, [queue]):
            # It was deleted outside of its stack.
            return
        for job_id in batch.open_jobs(client, queue):
            batch.terminate_job(client, job_id, "its Knot is deleted")

    def _forget_definitions(self, definition: str, name: str) -> None:
        batch.deregister_definitions(self._aws.client("batch"), definition, {KNOT_TAG: name})

    def _adopted(self, stack: Stack, things: Mapping[str, tuple[str, str]]) -> list[Left]:
        """What a stack uses and did not make.

        ``things`` are types, and the outputs that name them, by logical id.
        """
        template = cloudformation.template_of(self._aws.client("cloudformation"), stack.id)
        return [
            Left(kind, stack.outputs[output], ADOPTED)
            for logical, (kind, output) in things.items()
            if logical not in template["Resources"] and output in stack.outputs
        ]


def _kept_for(users: list[str]) -> str:
    if not users:
        return KEPT
    return f"the {users[0]} uses it" if len(users) == 1 else f"{', '.join(users)} use it"


def _without(left: tuple[Left, ...], what: str, name: str) -> tuple[Left, ...]:
    return tuple(each for each in left if (each.what, each.id) != (what, name))


_PARS_THINGS = {
    "Bucket": (_BUCKET, "Bucket"),
    "JobRole": ("AWS::IAM::Role", "JobRole"),
    "InstanceProfile": ("AWS::IAM::InstanceProfile", "InstanceProfile"),
    "ServiceRole": ("AWS::IAM::Role", "ServiceRole"),
    "SpotFleetRole": ("AWS::IAM::Role", "SpotFleetRole"),
}
