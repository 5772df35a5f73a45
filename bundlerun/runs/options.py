"""The options of a run, as `bundlerun run` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundlerun.backends.job import SIZES
from bundlerun.bundles.record import checked_name, checked_tags
from bundlerun.errors import UsageError
from bundlerun.pipelines.options import Options
from bundlerun.pipelines.overrides import Given, parsed_secrets
from bundlerun.registry import DEFAULT_BACKEND
from bundlerun.runs.limits import SETTING, LeftOut, resources_of, retries_of, whole
from bundlerun.runs.request import RunRequest
from bundlerun.settings import Settings


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options of a run.

    ``force`` runs the last pipe and ``force_all`` every pipe although equal work was done.
    ``build`` first rebuilds the image where its source changed. ``push_input`` False: the input
    is on the remote already. ``session_seconds`` gives the job credentials of this life, narrowed
    to the remote's prefix. ``config`` sets what configuration classes take, ``{"Section.key":
    value}``, and ``env`` has variables; both are in the key. ``secrets`` names variables of this
    process that the job gets, or ``NAME=REFERENCE`` where the backend reads them itself; they stand
    in no key, plan, record or log. ``job_options`` are those of the section ``[backends.NAME]``
    that one job can be given. What is left out of
    those below is as the settings say; None and 0 mean none and zero. ``vcpus``, ``memory_mib`` and
    ``gpus`` are the job's size, ``timeout_s`` its limit in whole seconds, ``retries`` the attempts
    after the first, where the machine was lost.
    """

    _of = "a run"

    backend: str = DEFAULT_BACKEND
    build: bool = False
    push_input: bool = True
    session_seconds: int | None = None
    vcpus: float | LeftOut | None = SETTING
    memory_mib: int | LeftOut | None = SETTING
    gpus: int | LeftOut | None = SETTING
    timeout_s: int | LeftOut | None = SETTING
    retries: int | LeftOut | None = SETTING
    job_options: Mapping[str, str] = field(default_factory=dict)


def request_of(
    names: tuple[str | None, str, str],
    params: Mapping[str, Any],
    options: RunOptions,
    settings: Settings,
) -> RunRequest:
    """The request to run ``names``, input, output and pipe.

    Raises UsageError, BadName.
    """
    input, output, pipe = names
    if "." not in pipe:
        raise UsageError(f"{pipe!r} is not a dotted class name", hint="package.module.Class")
    sizes = {name: getattr(options, name) for name in SIZES}
    resources, asked = resources_of(sizes, settings.run)
    timeout_s = settings.run.timeout_s
    if options.timeout_s is not SETTING:
        timeout_s = whole("timeout_s", options.timeout_s, 1, hint="--timeout-s 1")
    return RunRequest(
        input=None if input == "-" else input,
        output=checked_name(output),
        pipe=pipe,
        backend=options.backend,
        params={key: str(value) for key, value in params.items()},
        input_tags=checked_tags(options.input_tags or {}),
        output_tags=checked_tags(options.output_tags or {}),
        force=options.force,
        force_all=options.force_all,
        push_input=options.push_input,
        session_seconds=options.session_seconds,
        resources=resources,
        asked=asked,
        timeout_s=timeout_s,
        retries=retries_of(options.retries, settings.run, options.backend),
        options={name: str(value) for name, value in options.job_options.items()},
        given=Given.of(options.config, options.env),
        secrets=parsed_secrets(options.secrets),
    )
