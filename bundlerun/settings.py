"""The settings: read once, from a file and the environment, and passed on.

The file is ``$BUNDLERUN_HOME/config.toml`` (``~/.bundlerun/config.toml`` unless set)::

    [run]
    vcpus = 1
    memory_mib = 2048
    gpus = 0
    timeout_s = 3600                      # of a job, or of an item of a map
    retries = 0                           # after a lost machine
    price_per_vcpu_hour = 0.05            # for the max_cost of a map
    poll_s = 30                           # the longest pause between two looks at jobs
    bucket = "bucket/prefix"              # BUNDLERUN_BUCKET; the remote of contexts without one
    luigid = "http://127.0.0.1:8082"      # BUNDLERUN_LUIGID

    [images]
    repository_prefix = "team"            # BUNDLERUN_REPOSITORY_PREFIX
    registry = "localhost:5000"           # BUNDLERUN_REGISTRY; "ecr" for the account's own
    base_image = "python:3.11-slim"       # BUNDLERUN_BASE_IMAGE

    [store]
    checkout = "copy"                     # BUNDLERUN_CHECKOUT; "link": see StoreSettings
    trust_times = "overlay nfs4"          # BUNDLERUN_TRUST_TIMES; see StoreSettings

    [aws]
    profile = "team"                      # AWS_PROFILE; region, endpoints: AWS's own variables
    region = "eu-central-1"
    credentials_file = "~/.aws/team"
    session_role_arn = "arn:..."          # BUNDLERUN_SESSION_ROLE_ARN
    session_seconds = 3600                # BUNDLERUN_SESSION_SECONDS

    [backends.AWSBatch]
    queue = "my-queue"                    # BUNDLERUN_AWS_BATCH_QUEUE
    job_role_arn = "arn:..."              # BUNDLERUN_JOB_ROLE_ARN
    execution_role_arn = "arn:..."        # BUNDLERUN_EXECUTION_ROLE_ARN
    job_definition_name = "team-jobs"     # BUNDLERUN_JOB_DEFINITION_NAME
    log_group = "/team/jobs"              # BUNDLERUN_LOG_GROUP
    platform = "linux/amd64"              # BUNDLERUN_AWS_BATCH_PLATFORM
    tags = "project=x,team=y"             # BUNDLERUN_JOB_TAGS; of jobs and job definitions

Each backend reads its own section. An environment variable wins over the file.
AWS's own variables and files keep their meaning.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from bundlerun.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


T = TypeVar("T")


def option(
    default: Any = None,
    *,
    variable: str | None = None,
    choices: tuple[str, ...] = (),
    least: float | None = None,
) -> Any:
    """A key of a section: default, variable, choices, and the least of a number.

    The variable wins over the file, and is one of bundlerun's own prefix: others are not part of
    the settings.
    """
    return field(
        default=default, metadata={"variable": variable, "choices": choices, "least": least}
    )


@dataclass(frozen=True)
class RunSettings:
    """``[run]``: what jobs get unless asked otherwise, and luigi's scheduler.

    Applies report their graph to the latter. ``timeout_s`` is in seconds, None: no limit.
    ``poll_s``: the longest pause between two looks at jobs, in seconds; None: the backend's own.
    ``bucket``: the remote to which a context without one is bound at the first use of a remote,
    ``BUCKET/PREFIX`` or a URL.
    """

    vcpus: float = 1
    memory_mib: int = option(2048, least=1)
    gpus: int = option(0, least=0)
    timeout_s: int | None = option(least=1)
    retries: int = option(0, least=0)
    price_per_vcpu_hour: float | None = option(least=0.000001)
    poll_s: float | None = option(least=1)
    bucket: str | None = option(variable="BUNDLERUN_BUCKET")
    luigid: str | None = option(variable="BUNDLERUN_LUIGID")


@dataclass(frozen=True)
class ImageSettings:
    """``[images]``: the names of images, their base, and their registry."""

    repository_prefix: str | None = option(variable="BUNDLERUN_REPOSITORY_PREFIX")
    registry: str | None = option(variable="BUNDLERUN_REGISTRY")
    base_image: str | None = option(variable="BUNDLERUN_BASE_IMAGE")


@dataclass(frozen=True)
class AwsSettings:
    """``[aws]``: what AWS's own configuration does not say already.

    Also how the credentials of a job are narrowed: to which role, and for how many seconds.
    """

    profile: str | None = None
    region: str | None = None
    credentials_file: str | None = None
    session_role_arn: str | None = option(variable="BUNDLERUN_SESSION_ROLE_ARN")
    session_seconds: int | None = option(variable="BUNDLERUN_SESSION_SECONDS")


@dataclass(frozen=True)
class StoreSettings:
    """``[store]``: how the store is kept.

    ``checkout``: what the paths of large files are that ``get`` gives: ``"copy"`` (blocks shared
    with the store where the file system can, else a second set of bytes), or ``"link"``, a hard
    link to the store's own file. A link costs nothing, and a program that writes to it (as root,
    or after a chmod) changes every bundle that has these bytes.

    ``trust_times``: types of file systems (as /proc/mounts has them: overlay, nfs4, fuse.sshfs, or
    fuse for all of fuse) besides this machine's disks on which a file with unchanged times is not
    read again. Another machine, or a layer below, may change a file there unseen. tmpfs and ramfs
    cannot be named: a write through mmap leaves no trace there.
    """

    checkout: str = option("copy", variable="BUNDLERUN_CHECKOUT", choices=("copy", "link"))
    trust_times: str = option("", variable="BUNDLERUN_TRUST_TIMES")

    @property
    def trusted(self) -> tuple[str, ...]:
        """The types of file systems in ``trust_times``."""
        return tuple(self.trust_times.replace(",", " ").split())


@dataclass(frozen=True)
class Settings:
    """The whole configuration.

    ``home`` holds the configuration file and the default store.

    ``backends`` are the sections ``[backends.NAME]`` as they stand in the file, and ``variables``
    those of the environment that begin with ``BUNDLERUN_``: a backend reads them by ``options``.
    """

    home: Path
    store: Path
    context: str | None = None
    run: RunSettings = field(default_factory=RunSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    aws: AwsSettings = field(default_factory=AwsSettings)
    storage: StoreSettings = field(default_factory=StoreSettings)
    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    variables: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    @property
    def file(self) -> Path:
        """The path of the settings file, whether it is there or not."""
        return self.home / _FILE

    def options(self, backend: str, kind: type[T], of_job: Mapping[str, str] | None = None) -> T:
        """``[backends.NAME]`` of the backend called ``backend``, as a ``kind``.

        The variables go over the section, and over both the texts ``of_job`` (keys of the section).
        The fields of ``kind``, which is frozen, are made by ``option``. Raises SettingsError.
        """
        where = f"{self.file}: [backends.{backend}]"
        rows = self.backends.get(backend, {})
        return _section(kind, rows, where, self.variables, of_job)

    def but_options(self, backend: str, kind: type, values: Mapping[str, Any]) -> Settings:
        """The settings with ``values`` in ``[backends.NAME]``, over the variables too.

        ``kind`` is the backend's own, as for ``options``; None takes a key away.
        """
        own = {each.metadata.get("variable") for each in fields(kind) if each.name in values}
        given = {name: value for name, value in values.items() if value is not None}
        kept = {n: v for n, v in self.backends.get(backend, {}).items() if n not in values}
        return replace(
            self,
            backends={**self.backends, backend: {**kept, **given}},
            variables={n: v for n, v in self.variables.items() if n not in own},
        )


GRACE_S = 7 * 86_400
"""The age below which a clean-up leaves alone what nothing uses.

It may be told another age.
"""

_FILE = "config.toml"
_SECTIONS: Mapping[str, type] = {
    "run": RunSettings,
    "images": ImageSettings,
    "aws": AwsSettings,
    "store": StoreSettings,
}


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process, from ``environ`` and the file.

    ``environ`` is the process's own unless given.

    A missing file is an empty one. Raises SettingsError when the file does not parse or has a
    section, a key or a type that is not in the list above; what stands in ``[backends.NAME]`` is
    for that backend to judge.
    """
    env = os.environ if environ is None else environ
    home = env.get("BUNDLERUN_HOME") or os.path.join(_home_folder(env), ".bundlerun")
    variables = tuple((key, env[key]) for key in env if key.startswith("BUNDLERUN_"))
    return _settings(home, _bytes_of(os.path.join(home, _FILE)), variables)


@functools.lru_cache(maxsize=16)
def _settings(home: str, file: bytes, variables: tuple[tuple[str, str], ...]) -> Settings:
    # Every verb of the module asks for the settings: what they are made of is read each time, and
    # is made into settings once.
    env = dict(variables)
    folder = Path(home)
    path = folder / _FILE
    found = _parsed(path, file)
    read: dict[str, Any] = {
        name: _section(kind, found.get(name, {}), f"{path}: [{name}]", env)
        for name, kind in _SECTIONS.items()
    }
    return Settings(
        home=folder,
        store=Path(env.get("BUNDLERUN_STORE") or folder / "store"),
        context=env.get("BUNDLERUN_CONTEXT") or None,
        run=read["run"],
        images=read["images"],
        aws=read["aws"],
        storage=read["store"],
        backends=found.get("backends", {}),
        variables=env,
    )


def _home_folder(env: Mapping[str, str]) -> str:
    """The user's own folder.

    Without one (a function on a server) it is a folder that cannot exist: nothing is configured
    there, and nobody else can configure it.
    """
    found = env.get("HOME") or os.path.expanduser("~")
    return found if os.path.isabs(found) else "/nonexistent"


def _bytes_of(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error


def _parsed(path: Path, file: bytes) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}", hint=f"cat -n {path}") from error
    for section, rows in found.items():
        tables = [
            rows,
            *(rows.values() if section == "backends" and isinstance(rows, dict) else ()),
        ]
        if section not in (*_SECTIONS, "backends") or not all(isinstance(t, dict) for t in tables):
            there = ", ".join([*_SECTIONS, "backends.NAME"])
            raise SettingsError(
                f"{path} has the unknown section [{section}]; there are: {there}",
                hint=f"remove [{section}], or correct its name",
            )
    return found


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    # Annotations that are texts cost 0.1 ms to read.
    return get_type_hints(kind)


def _section(
    kind: type[T],
    rows: Mapping[str, Any],
    where: str,
    environ: Mapping[str, str],
    last: Mapping[str, str] | None = None,
) -> T:
    """The section ``rows`` as ``kind``.

    What ``environ`` says goes over it, and ``last``, by key, over both.
    """
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    hints = _hints(kind)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in rows.items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise SettingsError(
                f"{where} has no key {key!r}; there are: {there}",
                hint=f"remove {key}, or correct its name",
            )
        values[key] = _checked(known[key], hints[key], value, f"{where} {key}")
    for key, each in known.items():
        variable = each.metadata.get("variable")
        if variable and (text := environ.get(variable)):
            values[key] = _from_text(each, hints[key], text, variable)
        if last and key in last:
            values[key] = _from_text(each, hints[key], last[key], key)
    return kind(**values)


def _from_text(option: Field[Any], hint: Any, text: str, where: str) -> Any:
    is_number = int in (hint, *get_args(hint))
    if is_number and not text.isdecimal():
        raise SettingsError(f"{where}={text!r} must be a whole number", hint=f"{where}=3600")
    return _checked(option, hint, int(text) if is_number else text, where)


def _checked(option: Field[Any], hint: Any, value: Any, where: str) -> Any:
    wanted = tuple(each for each in get_args(hint) or (hint,) if each is not type(None))
    takes = (int, float) if float in wanted else wanted
    # A boolean is an int to Python.
    if not isinstance(value, takes) or (isinstance(value, bool) and bool not in wanted):
        words = " or ".join(_NAMED.get(each, each.__name__) for each in wanted)
        raise SettingsError(
            f"{where} must be {words}, not {value!r:.40}",
            hint=f"{where.rpartition(' ')[2]}={_EXAMPLES.get(wanted[0], '...')}",
        )
    choices = option.metadata.get("choices")
    if choices and value not in choices:
        raise SettingsError(
            f"{where} must be one of {', '.join(choices)}, not {value!r:.40}",
            hint=f'{where.rpartition(" ")[2]}="{choices[0]}"',
        )
    least = option.metadata.get("least")
    if least is not None and value < least:
        raise SettingsError(
            f"{where} must be {least:g} or more, not {value:g}",
            hint=f"{where.rpartition(' ')[2]}={_EXAMPLES[wanted[0]]}",
        )
    return value


_EXAMPLES = {str: '"TEXT"', int: "3600", float: "2.0", bool: "true"}
_NAMED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
