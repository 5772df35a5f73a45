"""Work that is asked for: from names and options to what carries it out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bundlerun.api.scope import called
from bundlerun.bundles.record import checked_name, checked_tags

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.pipelines.options import ApplyOptions
    from bundlerun.pipelines.pipe import Pipe
    from bundlerun.runs.options import RunOptions
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.request import RunRequest
    from bundlerun.store.rows import Entry


def applied(
    scope: Scope,
    names: tuple[str | BundleRecord | None, str, type[Pipe] | str],
    params: Mapping[str, Any],
    options: ApplyOptions,
) -> Entry:
    """The output of a pipe that is run here.

    ``names`` are the input, the output and the pipe. Why it was made, or that equal work was found,
    is told to the progress. Raises as ``Workspace.apply``.
    """
    from bundlerun.pipelines.overrides import luigi_files, parsed_secrets

    # luigi reads its files while it is imported, and does not name one that it cannot read.
    luigi_files()
    from bundlerun.pipelines.apply import apply_named
    from bundlerun.pipelines.luigid import Luigid
    from bundlerun.pipelines.session import session_options
    from bundlerun.runs.masking import MaskedProgress, masked, unsaid

    input, output, pipe = names
    settled = session_options(options)
    checked_name(output)
    hidden = [os.environ[name] for name in parsed_secrets(options.secrets)]
    wanted = checked_tags(options.input_tags)
    entry = None if input is None or input == "-" else scope.entry(input, wanted)
    before = scope.store.catalog.find(scope.context(), output)
    progress = scope.inner.progress if scope.inner else scope.progress
    inner = scope.inner
    outer, url = (inner and inner.luigid) or Luigid(), options.luigid
    if inner is None and url is None:
        url = scope.settings.run.luigid
    luigid = outer.within(url, lambda text: masked(text, hidden))
    with unsaid(hidden):
        made = apply_named(
            pipe,
            host=scope.targets(),
            input=None if entry is None else entry.bundle,
            output=output,
            params=params,
            options=replace(settled, luigid=luigid),
            progress=MaskedProgress(progress, hidden) if hidden else progress,
        ).entry
    if before is None or before.bundle.id != made.bundle.id:
        _tell_what_differs(scope, made.bundle, made)
    else:
        scope.progress.line("equal work was found; --force runs it again")
    return made


def planned(
    scope: Scope,
    names: tuple[str | BundleRecord | None, str, type[Pipe] | str],
    params: Mapping[str, Any],
    options: RunOptions,
) -> tuple[RunPlan, RunRequest]:
    """The plan of a run, and its request.

    ``names`` are the input, the output and the pipe. What keeps it from being found is told to the
    progress. Raises as ``Workspace.plan``.
    """
    from bundlerun.pipelines.loader import pipe_name
    from bundlerun.runs.options import request_of
    from bundlerun.runs.submit import plan_request

    runs = scope.runs()
    input, output, pipe = names
    given = None if input is None else called(input)
    request = request_of((given, output, pipe_name(pipe)), params, options, scope.settings)
    plan = plan_request(
        request,
        runs,
        build=options.build,
        tell=lambda plan: _tell_what_differs(scope, plan.task.promised()),
    )
    return plan, request


def _tell_what_differs(scope: Scope, bundle: BundleRecord, entry: Entry | None = None) -> None:
    # Imported here: where equal work is found, nothing is compared.
    from bundlerun.api.compare import tell_what_differs

    tell_what_differs(scope, bundle, entry)
