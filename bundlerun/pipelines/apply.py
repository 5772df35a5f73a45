"""Apply: a pipe class and an input to a new bundle, doing only what is missing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luigi.task_register import Register

from bundlerun.bundles.record import BundleRecord, checked_name, checked_tags
from bundlerun.errors import UsageError
from bundlerun.pipelines import scheduler
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.graph import walk
from bundlerun.pipelines.loader import importing_from, load_pipe, location_of, pipe_class
from bundlerun.pipelines.luigid import reporting
from bundlerun.pipelines.override_scope import in_force
from bundlerun.pipelines.parameters import with_params
from bundlerun.pipelines.session import Session, SessionOptions, Target
from bundlerun.progress import SILENT, Progress

if TYPE_CHECKING:
    from bundlerun.pipelines.pipe import Pipe
    from bundlerun.pipelines.targets import Targets
    from bundlerun.store.rows import Entry


@dataclass(frozen=True)
class ApplyResult:
    """The outcome of an apply.

    ``entry`` is the output; ``ran`` and ``reused`` are the names of the pipes that ran and that
    were found, in the order in which they were done.
    """

    entry: Entry
    ran: list[str]
    reused: list[str]


def apply_named(
    pipe: type[Pipe] | str,
    *,
    host: Targets,
    input: BundleRecord | None,
    output: str,
    params: Mapping[str, object],
    options: SessionOptions,
    progress: Progress,
) -> ApplyResult:
    """``apply`` of a class or of ``package.module.Class`` below the pipe root.

    The root is ``options.pipe_root``, else the working directory. The module is imported as its
    pipes run. Raises BadModule, and as ``apply``.
    """
    root = options.pipe_root or Path.cwd()
    place = importing_from(root) if isinstance(pipe, str) else contextlib.nullcontext()
    with in_force(options.given), place:  # also while the module is imported
        return apply(
            load_pipe(pipe, root) if isinstance(pipe, str) else pipe,
            host=host,
            input=input,
            output=output,
            params=params,
            options=options,
            progress=progress,
        )


def apply(
    pipe: type[Pipe],
    *,
    host: Targets,
    input: BundleRecord | None,
    output: str,
    params: Mapping[str, object] | None = None,
    options: SessionOptions | None = None,
    progress: Progress = SILENT,
) -> ApplyResult:
    """The bundle ``output`` that ``pipe`` with ``params`` makes of ``input``.

    Texts among ``params`` are parsed. The pipes it needs are made first; their bundles are called
    by module and class. What equal work made already is used: then ``output`` gets a new version
    over that value, unless its latest version has it.

    Raises BadName, BadParameter, BadModule and BundleNotFound before anything runs; UserError when
    a pipe raises or returns what cannot be kept (what was finished before it stays, of itself there
    is no trace); TimedOut after its ``worker_timeout``; InfraError when a worker process dies;
    KeyboardInterrupt; and what ``host`` raises. May be called off the main thread, and from several
    threads at once.
    """
    options = options or SessionOptions()
    checked_name(output)
    checked_tags(options.output_tags)
    if options.workers < 1:
        raise UsageError(
            f"the number of workers must be at least 1, not {options.workers}", hint="--workers 1"
        )
    pipe_class(pipe, getattr(pipe, "__qualname__", repr(pipe)))
    with in_force(options.given, options.left_out) as given:
        # luigi keeps task objects for ever; what a requires() has noted on one is of its own apply.
        Register.clear_instance_cache()
        home_of = functools.cache(lambda cls: location_of(cls, options.pipe_root))
        home = home_of(pipe)
        top = with_params(pipe, f"{home.module}.{pipe.__name__}", params or {})
        nodes = walk(top, home_of)
        environment = options.environment or local_environment()
        session = Session(host, Target(input, output, nodes), options, environment)
        session.take(given)
        first = session.plan()
        try:
            with reporting(options.luigid, nodes, session.done, progress) as report:
                if first:
                    # Children may be killed: what they leave goes with the folder.
                    session.make_folder()
                    workers = options.workers
                    scheduler.run_all(
                        session, first, processes=workers, progress=progress, report=report
                    )
        finally:
            session.close()
        return ApplyResult(session.done[session.top], session.ran, session.reused)
