"""The contract of a backend: its duties, its promises, its report to ``doctor``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from bundlerun.backends.job import JobHandle, JobSpec, JobState, JobStatus, Resources
from bundlerun.connections import Connections
from bundlerun.errors import DOCTOR, BundlerunError, UsageError
from bundlerun.settings import Settings


@dataclass(frozen=True)
class Pace:
    """The seconds between two looks at a job.

    They begin at ``first_s``, longer by ``factor`` each, up to ``most_s``. ``stumbles`` is how many
    failing looks in a row are forgiven.
    """

    first_s: float = 0.05
    most_s: float = 5.0
    factor: float = 1.4
    stumbles: int = 5

    def after(self, pause_s: float) -> float:
        """The pause that follows one of ``pause_s``."""
        return min(pause_s * self.factor, self.most_s)

    def up_to(self, most_s: float | None) -> Pace:
        """The same with another longest pause; None for ``most_s``: as it is."""
        if most_s is None:
            return self
        return replace(self, first_s=min(self.first_s, most_s), most_s=most_s)


class ImageAt(Enum):
    """The place where a job's image must be when the job is submitted."""

    ENGINE = "on the Docker engine of the client"
    REGISTRY = "in a registry"
    NONE = "nowhere: the job runs without a container"


INDEX = "BUNDLERUN_INDEX"
"""The variable that tells a job its index in its array.

It is for backends that have none of their own.
"""


@dataclass(frozen=True)
class Tells:
    """The environment variables in which a backend tells a job what it is.

    None: not told. ``job`` is the id that all attempts of a job share, ``attempt`` counts from 1,
    ``index`` is the place of a job in its array, from 0; a job that is of no array is not told one.
    """

    job: str | None = None
    attempt: str | None = None
    index: str = INDEX


@dataclass(frozen=True)
class Traits:
    """The traits of a backend: all that others must know before they ask anything.

    ``waits``: a run waits for its job unless told otherwise. ``image``: where the image must be.
    ``sees_folders``: a job can be given folders of the client's machine. ``private_variables``:
    nobody else can read a job's variables, so values of secrets and credentials may stand there.
    ``keeps_logs``: the log outlives ``release``. ``pace``: how often a job is looked at, unless the
    settings say otherwise (``Backend.pace``). ``slots``: jobs side by side, whatever their size
    (None: a queue of its own decides, or ``room`` knows). ``largest_array``: jobs in one
    submission. ``platform``: Docker's ``os/arch`` of the machines under its jobs, None for that of
    the engine here. ``least_timeout_s``: no shorter limit is kept. ``most_retries``: further
    attempts after the machine under a job was taken away, or did not start it. ``tells``: the
    variables that tell a job what it is. ``sizes``: which fields of ``Resources`` a job gets, and
    no more than that. ``job_options``: which of the backend's options can be given for one job.
    """

    waits: bool
    image: ImageAt
    sees_folders: bool = False
    private_variables: bool = False
    keeps_logs: bool = False
    pace: Pace = field(default_factory=Pace)
    slots: int | None = None
    largest_array: int = 1
    platform: str | None = None
    least_timeout_s: int = 1
    most_retries: int = 0
    tells: Tells = field(default_factory=Tells)
    sizes: frozenset[str] = frozenset()
    job_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoOptions:
    """The options of a backend that has none."""


class Backend(ABC):
    """The place where jobs run.

    A handle is enough to find a job again from another process. Methods raise EngineError or
    CloudError when the engine or service does not answer.
    """

    name: ClassVar[str]
    traits: ClassVar[Traits]

    options: ClassVar[type[Any]] = NoOptions
    """The section ``[backends.NAME]`` of the settings file: a frozen dataclass.

    Its fields are made by ``settings.option``. Those in ``traits.job_options`` can be given for one
    job as well.
    """

    poll_s: float | None = None
    """The longest pause between two looks, a setting; None: that of the traits."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; nothing is asked of anybody yet.

        Raises SettingsError for a key in the backend's section that is not among ``options``.
        """
        settings.options(self.name, self.options)

    @classmethod
    def open(cls, connections: Connections) -> Backend:
        """The backend as a workspace has it.

        What is opened ``once`` is shared with the workspace's remotes. Raises as the constructor.
        """
        return cls(connections.settings)

    @classmethod
    def platform(cls, settings: Settings) -> str | None:
        """The platform of the images of jobs here, None for that of the engine here.

        It is ``platform`` of the backend's own section where that has such a key, else that of
        ``traits``. Raises SettingsError.
        """
        options = settings.options(cls.name, cls.options)
        return getattr(options, "platform", None) or cls.traits.platform

    @property
    def pace(self) -> Pace:
        """The pauses between two looks at a job, for all who wait for it."""
        return self.traits.pace.up_to(self.poll_s)

    def checks(self) -> Iterator[Check]:
        """The checks of ``doctor``: whether the backend answers, and can start a job."""
        return iter(())

    def check_options(self, options: Mapping[str, str]) -> None:
        """Refuse an option that one job cannot have here.

        Raises UsageError.
        """
        for name in options:
            if name not in self.traits.job_options:
                there = ", ".join(self.traits.job_options) or "none"
                raise UsageError(
                    f"a job on {self.name} cannot be given {name}; what it can be given: {there}",
                    hint=f"leave out --set {name}=...",
                )

    def check_secrets(self, secrets: Mapping[str, str | None], options: Mapping[str, str]) -> None:
        """Refuse secrets that a job with ``options`` cannot get here.

        ``secrets`` are variables, each with the service's own name for it, or None. Asked where
        variables are not private alone. Raises UsageError, and SettingsError where something must
        be configured first.
        """
        for name in secrets:
            raise UsageError(
                f"a job on {self.name} cannot be given the secret {name}: others could read it",
                hint=f"leave out --secret {name}",
            )

    @classmethod
    def check_limits(cls, *, retries: int, timeout_s: int | None, array: int = 1) -> None:
        """Refuse limits of a job that this backend does not keep.

        Raises UsageError where a job cannot be repeated ``retries`` times here after a lost
        machine, no limit of ``timeout_s`` is kept (None: no limit), or no array of ``array`` jobs
        can be submitted.
        """
        most, least_s = cls.traits.most_retries, cls.traits.least_timeout_s
        if not 0 <= retries <= most:
            can = f"0 to {most} times" if most else "no job"
            raise UsageError(
                f"{cls.name} repeats {can} after a lost machine, not {retries} times",
                hint=f"--retries {most}",
            )
        if not 1 <= array <= cls.traits.largest_array:
            raise UsageError(
                f"{cls.name} takes {cls.traits.largest_array} jobs a submission, not {array}",
                hint=f"no more than {cls.traits.largest_array} jobs at once",
            )
        if timeout_s is not None and timeout_s < least_s:
            raise UsageError(
                f"{cls.name} ends no job before {least_s} s; {timeout_s} s is too short",
                hint=f"--timeout-s {least_s}",
            )

    def check_env(self, names: Collection[str]) -> None:
        """Refuse variables that the service keeps for itself.

        Raises UsageError.
        """
        return

    def check_resources(self, resources: Resources, asked: Collection[str] = ()) -> None:
        """Refuse resources that a job cannot have here.

        The fields in ``asked`` were asked for by name: they are kept or refused, others may be
        less. Raises UsageError.
        """
        for name in sorted(set(asked) - self.traits.sizes):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{self.name} keeps no limit of {name}, and cannot give {getattr(resources, name)}",
                hint=f"leave out {option}"
                + (", or --gpus 0 where the settings ask for it" if name == "gpus" else ""),
            )

    def check(self, spec: JobSpec) -> None:
        """Refuse what of ``spec`` is not kept here; ``submit`` begins with it.

        Raises UsageError.
        """
        self.check_limits(retries=spec.retries, timeout_s=spec.timeout_s, array=spec.array)
        self.check_options(spec.options)
        self.check_resources(spec.resources)
        self.check_env(spec.env)
        folder = spec.access.folder if spec.access else None
        if folder is not None and not self.traits.sees_folders:
            raise UsageError(
                f"a job on {self.name} cannot see {folder}, a folder of this machine",
                hint="bundlerun context NAME; bundlerun remote NAME s3://BUCKET/PREFIX",
            )
        if spec.image and self.traits.image is ImageAt.NONE:
            raise UsageError(
                f"a job on {self.name} runs without an image, and cannot have {spec.image}",
                hint="bundlerun run IN OUT PKG.MODULE.PIPE",
            )

    @abstractmethod
    def submit(self, spec: JobSpec) -> JobHandle:
        """Start ``spec`` and return at once.

        Submitting the same ``run_id`` and ``part`` twice gives one job, or array, where the engine
        can tell (the local one): it goes on where the first broke off. Elsewhere two jobs, of which
        the output's create-only record keeps one result. Raises ImagePull when the image is not
        there.
        """

    @abstractmethod
    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """The job, or array, submitted as ``part`` of ``run_id`` under ``name``, or None.

        It is for a client that died before it could note the handle; ``name`` is that of the
        JobSpec. An array is found whole: while jobs of it are missing, none has begun, and
        ``submit`` goes on.
        """

    @abstractmethod
    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The status of each handle, by handle id; LOST where nobody knows it any more.

        As few requests as the service allows (AWS Batch: 100 ids a DescribeJobs), and for an array
        no more than for a job.
        """

    def failed(self, handle: JobHandle) -> Mapping[int, JobStatus]:
        """The status of each job of an array that ended without success, by its index.

        A single job has the index 0. A job that nobody knows any more is LOST.
        """
        status = self.poll([handle])[handle.id]
        over = status.state.final and status.state is not JobState.SUCCEEDED
        return {0: status} if over else {}

    @abstractmethod
    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """The lines the job wrote, without newlines; with ``follow`` until the job ends.

        No line twice; nothing when there is no log. Of an array those of the job at ``index``,
        None: one job after the other. Raises UsageError for an ``index`` that the array does not
        have.
        """

    @abstractmethod
    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """Stop the job, wherever it stands; one that has ended is not an error.

        Of an array the job at ``index``, None: all of them. Raises UsageError as ``logs`` does. A
        handle may come from a remote, and a remote may lie: raises Conflict, and does nothing,
        where the job's own record is not of the handle's run."""

    @abstractmethod
    def release(self, handle: JobHandle) -> None:
        """Forget what the engine still keeps of the job (a stopped container).

        The result is safe then. Calling it twice is not an error. Raises Conflict as ``cancel``
        does.
        """

    def lasting_options(self) -> Mapping[str, str]:
        """The options by which jobs of a run are found, and more of them submitted.

        A run keeps them: who goes on with it may have other settings.
        """
        return {}

    def at(self, options: Mapping[str, str]) -> Backend:
        """The backend as its ``lasting_options`` would be these."""
        return self

    def room(self, resources: Resources) -> int | None:
        """How many jobs of this size run side by side, at least 1; None: a queue decides."""
        return self.traits.slots

    def variable(self, handle: JobHandle, name: str) -> str | None:
        """The environment variable ``name`` of the job, by the job's own record, or None.

        None where it has none, or the backend does not know the job any more. Raises Conflict as
        ``cancel`` does.
        """
        return None

    def staging(self, handle: JobHandle) -> Path | None:
        """The folder on this machine written by the job (RemoteAccess.staging), or None.

        It is known by the engine's own record; None where there is none, or it is not known any
        more.
        """
        return None

    def other_job(self, handle: JobHandle, claiming: str) -> JobHandle | None:
        """The handle of another job that has the run, called ``claiming`` inside, or None.

        None where it is the job of ``handle``, or a run can have one job alone here.
        """
        return None


@dataclass(frozen=True)
class Check:
    """One checked thing.

    ``ok`` None: not needed as things are configured.
    """

    what: str
    ok: bool | None
    detail: str
    cure: str | None = None


def checked(what: str, look: Callable[[], str]) -> Check:
    """The check of ``what`` by ``look``; an error of ours is a failing check.

    The failing check has the error's cure.
    """
    try:
        return Check(what, True, look())
    except BundlerunError as error:
        return failing(what, error)


def failing(what: str, error: BundlerunError, *, ok: bool | None = False) -> Check:
    """The check of ``what`` that ``error`` ended.

    A cure that is ``doctor`` itself is left out.
    """
    return Check(what, ok, error.message, None if error.hint == DOCTOR else error.hint)
