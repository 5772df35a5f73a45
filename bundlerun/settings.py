"""The settings: read once, from one file and the environment, and passed on as a value.

The file is ``$BUNDLERUN_HOME/config.toml`` (``~/.bundlerun/config.toml`` unless set)::

    [run]
    aws_batch_queue = "my-queue"          # BUNDLERUN_AWS_BATCH_QUEUE
    job_role_arn = "arn:..."              # BUNDLERUN_JOB_ROLE_ARN
    execution_role_arn = "arn:..."        # BUNDLERUN_EXECUTION_ROLE_ARN
    session_role_arn = "arn:..."          # BUNDLERUN_SESSION_ROLE_ARN
    session_seconds = 3600                # BUNDLERUN_SESSION_SECONDS
    vcpus = 1
    memory_mib = 2048

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

An environment variable wins over the file. AWS's own variables and files keep their meaning.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlerun.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class RunSettings:
    """``[run]``: where AWS Batch jobs go, as whom, and how large they are unless said otherwise.
    As ``execution_role_arn`` Batch itself reads a job's secrets, before the job begins."""

    aws_batch_queue: str | None = None
    job_role_arn: str | None = None
    execution_role_arn: str | None = None
    session_role_arn: str | None = None
    session_seconds: int | None = None
    vcpus: float = 1
    memory_mib: int = 2048


@dataclass(frozen=True)
class ImageSettings:
    """``[images]``: how images are named, on what they stand, where they are published."""

    repository_prefix: str | None = None
    registry: str | None = None
    base_image: str | None = None


@dataclass(frozen=True)
class AwsSettings:
    """``[aws]``: what AWS's own configuration does not say already."""

    profile: str | None = None
    region: str | None = None


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

    checkout: str = "copy"
    trust_times: str = ""

    @property
    def trusted(self) -> tuple[str, ...]:
        """The types of file systems in ``trust_times``."""
        return tuple(self.trust_times.replace(",", " ").split())


@dataclass(frozen=True)
class Settings:
    """Everything that is configured. ``home`` holds the configuration and the default store."""

    home: Path
    store: Path
    context: str | None = None
    run: RunSettings = field(default_factory=RunSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    aws: AwsSettings = field(default_factory=AwsSettings)
    storage: StoreSettings = field(default_factory=StoreSettings)


_VARIABLES = {
    ("run", "aws_batch_queue"): "BUNDLERUN_AWS_BATCH_QUEUE",
    ("run", "job_role_arn"): "BUNDLERUN_JOB_ROLE_ARN",
    ("run", "execution_role_arn"): "BUNDLERUN_EXECUTION_ROLE_ARN",
    ("run", "session_role_arn"): "BUNDLERUN_SESSION_ROLE_ARN",
    ("run", "session_seconds"): "BUNDLERUN_SESSION_SECONDS",
    ("images", "repository_prefix"): "BUNDLERUN_REPOSITORY_PREFIX",
    ("images", "registry"): "BUNDLERUN_REGISTRY",
    ("images", "base_image"): "BUNDLERUN_BASE_IMAGE",
    ("store", "checkout"): "BUNDLERUN_CHECKOUT",
    ("store", "trust_times"): "BUNDLERUN_TRUST_TIMES",
}

_SECTIONS: dict[str, type] = {
    "run": RunSettings,
    "images": ImageSettings,
    "aws": AwsSettings,
    "store": StoreSettings,
}
_CHOICES = {"checkout": ("copy", "link")}
_NUMBERS: dict[str, tuple[type, ...]] = {
    "vcpus": (int, float),
    "memory_mib": (int,),
    "session_seconds": (int,),
}


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process, from ``environ`` (the process's own unless given) and the file.

    A missing file is an empty one. Raises SettingsError when the file does not parse or has a
    section, a key or a type that is not in the list above.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("BUNDLERUN_HOME") or _home_folder(env) / ".bundlerun")
    path = home / "config.toml"
    sections = _checked(_parsed(path), path)
    for (section, key), variable in _VARIABLES.items():
        if env.get(variable):
            sections[section][key] = _value(key, env[variable], variable)
    return Settings(
        home=home,
        store=Path(env.get("BUNDLERUN_STORE") or home / "store"),
        context=env.get("BUNDLERUN_CONTEXT") or None,
        run=RunSettings(**sections["run"]),
        images=ImageSettings(**sections["images"]),
        aws=AwsSettings(**sections["aws"]),
        storage=StoreSettings(**sections["store"]),
    )


def _home_folder(env: Mapping[str, str]) -> Path:
    """The user's own folder. Where there is none (a function on a server) a folder that cannot
    be: nothing is configured there, and nobody else can configure it."""
    found = env.get("HOME") or os.path.expanduser("~")
    return Path(found if os.path.isabs(found) else "/nonexistent")


def _value(key: str, text: str, variable: str) -> str | int:
    if key not in _NUMBERS:
        _check_choice(key, text, variable)
        return text
    if not text.isdecimal():
        raise SettingsError(f"{variable}={text!r} must be a whole number")
    return int(text)


def _check_choice(key: str, text: str, where: str) -> None:
    choices = _CHOICES.get(key, (text,))
    if text not in choices:
        raise SettingsError(f"{where} must be one of {', '.join(choices)}, not {text!r:.40}")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _checked(found: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for section, rows in found.items():
        if section not in _SECTIONS or not isinstance(rows, dict):
            raise SettingsError(
                f"{path}: no section is called [{section}]; there are: {', '.join(_SECTIONS)}"
            )
        known = _SECTIONS[section].__dataclass_fields__  # type: ignore[attr-defined]
        for key, value in rows.items():
            if key not in known:
                raise SettingsError(
                    f"{path}: [{section}] has no key {key!r}; there are: {', '.join(known)}"
                )
            wanted: tuple[type, ...] = _NUMBERS.get(key, (str,))
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise SettingsError(f"{path}: [{section}] {key} must be a {wanted[-1].__name__}")
            if isinstance(value, str):
                _check_choice(key, value, f"{path}: [{section}] {key}")
            sections[section][key] = value
    return sections
