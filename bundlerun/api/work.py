"""The verbs on work: apply here, dockerize, run elsewhere, and what became of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun import registry
from bundlerun.api.data import Data
from bundlerun.backends.open import open_backend, traits_of
from bundlerun.bundles.record import Bundle, checked_name, checked_tags
from bundlerun.errors import IntegrityError, RunNotFound, UsageError
from bundlerun.jobs.backend import ImageAt
from bundlerun.jobs.spec import JobHandle, Resources
from bundlerun.jobs.state import JobState
from bundlerun.progress import SILENT
from bundlerun.runs.record import RunRecord, RunResult

if TYPE_CHECKING:
    from bundlerun.images.image import ImageInfo
    from bundlerun.images.recipe import Recipe
    from bundlerun.jobs.backend import Backend
    from bundlerun.runs.images import ImageRequest
    from bundlerun.runs.plan import RunRequest
    from bundlerun.settings import ImageSettings
    from bundlerun.store.journal import Row
    from bundlerun.store.rows import Entry


class Work(Data):
    """Verbs that compute."""

    def apply(
        self,
        input: str | None,
        output: str,
        pipe: Any,
        /,
        *,
        workers: int = 1,
        force: bool = False,
        force_all: bool = False,
        input_tags: Mapping[str, str] | None = None,
        output_tags: Mapping[str, str] | None = None,
        commit: bool = False,
        params: Mapping[str, Any] | None = None,
        pipe_root: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        **parameters: Any,
    ) -> Bundle:
        """Run the pipe here, with luigi, on the bundle ``input`` (None or "-": no input), and
        return the bundle ``output`` that it made, or equal work that was found.

        ``pipe`` is a Pipe class or ``package.module.Class`` below ``pipe_root`` (the working
        directory unless given). Parameters are given by keyword, or in ``params`` where a name
        is taken. ``config`` sets what configuration classes take, ``{"Section.key": value}``: no
        luigi file is seen. ``env`` has variables for the time of the apply; both are in the key.
        ``secrets`` names variables that the pipes need and that are in no key.

        Raises UserError when the pipe raises, BadParameter, BadModule, BundleNotFound,
        SettingsError where a luigi file sets what the pipeline's classes have.
        """
        from bundlerun.pipelines.apply import apply as apply_pipe
        from bundlerun.pipelines.loader import importing_from, load_pipe
        from bundlerun.pipelines.override_scope import in_force
        from bundlerun.pipelines.overrides import Given, check_secrets, parsed_secrets
        from bundlerun.pipelines.session import ApplyOptions

        checked_name(output)
        wanted, labels = checked_tags(input_tags or {}), checked_tags(output_tags or {})
        given = Given.of(config, env)
        check_secrets(parsed_secrets(secrets), given)
        root = Path(pipe_root or Path.cwd())
        entry = None
        if input is not None and input != "-":
            entry = self.entry(input, wanted)
        before = self.store.catalog.find(self.context(), output)
        options = ApplyOptions(
            workers=workers,
            force=force,
            force_all=force_all,
            output_tags=labels,
            commit=commit,
            pipe_root=root,
            given=given,
        )
        place = importing_from(root) if isinstance(pipe, str) else contextlib.nullcontext()
        with in_force(given), place:  # also while the module is imported
            if isinstance(pipe, str):
                pipe = load_pipe(pipe, root)
            result = apply_pipe(
                pipe,
                host=self.host(),
                input=None if entry is None else entry.bundle,
                output=output,
                params={**(params or {}), **parameters},
                options=options,
                progress=self.inner.progress if self.inner else self.progress,
            )
        if before is None or before.bundle.id != result.entry.bundle.id:
            self._tell_what_differs(result.entry.bundle, result.entry)
        return result.entry.bundle

    def dockerize(
        self,
        pipe_root: str | Path,
        pipe: str,
        *,
        push: bool = False,
        config_dir: str | Path | None = None,
        base_image: str | None = None,
        platform: str | None = None,
    ) -> ImageInfo:
        """Make the image of the module of ``pipe`` (``package.module.Class``), found below
        ``pipe_root``; unchanged content is not built again. ``push`` sends it to the registry
        that the settings name. Raises BadModule, EngineError, BuildFailed.
        """
        from bundlerun.runs.images import ImageRequest

        config = None if config_dir is None else Path(config_dir)
        request = ImageRequest(Path(pipe_root), pipe, config, base_image, platform)
        return self._made_image(request, push=push)

    def write_build_context(
        self,
        folder: str | Path,
        pipe_root: str | Path,
        pipe: str,
        *,
        config_dir: str | Path | None = None,
        base_image: str | None = None,
        platform: str | None = None,
    ) -> Path:
        """Write to the new folder ``folder`` what ``dockerize`` would send to the engine, the
        Dockerfile included, and build nothing; the Dockerfile's path."""
        from bundlerun.images.context import write_context
        from bundlerun.runs.images import ImageRequest

        config = None if config_dir is None else Path(config_dir)
        request = ImageRequest(Path(pipe_root), pipe, config, base_image, platform)
        return write_context(self._recipe(request), Path(folder))

    def run(
        self,
        input: str | None,
        output: str,
        pipe: str,
        *,
        backend: str = registry.DEFAULT_BACKEND,
        params: Mapping[str, Any] | None = None,
        force: bool = False,
        push_input: bool = True,
        session_seconds: int | None = None,
        input_tags: Mapping[str, str] | None = None,
        output_tags: Mapping[str, str] | None = None,
        wait: bool | None = None,
        resources: Resources | None = None,
        timeout_s: int | None = None,
        retries: int = 0,
        job_role_arn: str | None = None,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        execution_role_arn: str | None = None,
        force_all: bool = False,
        dry_run: bool = False,
        build: bool = False,
    ) -> RunResult:
        """Run the pipe in its container on ``backend``, over the bundle ``input``, and bring back
        ``output``. Equal work is found instead of done again, unless ``force`` (the last pipe) or
        ``force_all`` (every pipe).

        An equal run for the same ``output`` that is under way, whoever submitted it, is followed
        instead (the result's ``followed``), unless either force is given.

        ``wait`` None: as the backend's traits say. ``dry_run``: the
        plan only. ``build``: first rebuild the image where its source changed. ``config`` and
        ``env`` are as in ``apply``. ``secrets`` names variables of this process that the job gets
        (Local), or ``NAME=ARN`` of Secrets Manager or Parameter Store (AWSBatch, which reads them
        as ``execution_role_arn``); they stand in no key, plan, record or log.

        Raises what the run failed of (a RunFailed), and before anything is done: BadModule,
        BadParameter, BundleNotFound, NotCommitted, ImageNotFound, StaleImage, NoRemote.
        """
        from bundlerun.pipelines.overrides import Given, parsed_secrets
        from bundlerun.runs.plan import RunRequest

        if "." not in pipe:
            raise UsageError(f"{pipe!r} is not a package.module.Class")
        settings = self.settings.run
        options = {"job_role_arn": job_role_arn, "execution_role_arn": execution_role_arn}
        request = RunRequest(
            input=None if input == "-" else input,
            output=checked_name(output),
            pipe=pipe,
            backend=backend,
            params={key: str(value) for key, value in (params or {}).items()},
            input_tags=checked_tags(input_tags or {}),
            output_tags=checked_tags(output_tags or {}),
            force=force,
            force_all=force_all,
            push_input=push_input,
            session_seconds=session_seconds,
            resources=resources or Resources(settings.vcpus, settings.memory_mib),
            timeout_s=timeout_s,
            retries=retries,
            options={name: text for name, text in options.items() if text is not None},
            given=Given.of(config, env),
            secrets=parsed_secrets(secrets),
        )
        return self._carried_out(request, wait=wait, dry_run=dry_run, build=build)

    def list_jobs(
        self, run: str | None = None, *, limit: int | None = None, before: str | None = None
    ) -> list[RunRecord]:
        """The runs of this context (None), newest first, or the run whose id starts so, with
        their states of now; a run that another store submitted to the context's remote as well.

        ``limit`` is how many at most (None: all); ``before``, the id of a run: those older than
        that one. Raises RunNotFound.
        """
        from bundlerun.runs.watch import refresh

        if run is not None:
            records = [self._record(run)]
        else:
            rows = self.store.journal.list(self.context(), limit=limit, before=before)
            records = self._readable(rows)
        if all(record.settled for record in records):
            return records
        return refresh(records, self.world())

    def list_remote_jobs(self, *, limit: int = 50) -> list[RunRecord]:
        """The newest ``limit`` runs of the context's remote, whoever submitted them, newest first,
        with their states of now; nothing is written. Raises NoRemote."""
        from bundlerun.runs.elsewhere import listed

        return listed(self.world(), limit)

    def logs(self, run: str, *, follow: bool = False) -> Iterator[str]:
        """The lines that a run's job wrote; what the envelope kept of them once the backend has
        forgotten the job. Raises RunNotFound."""
        from bundlerun.runs.record import Envelope, Missing, newest_envelope
        from bundlerun.runs.watch import backend_of

        record = self._record(run)
        world = self.world()
        if record.handle is not None and (
            not record.settled or traits_of(record.backend).keeps_logs
        ):
            backend = backend_of(record, world)
            if not record.adopted or _is_here(backend, record.handle):
                yield from backend.logs(record.handle, follow=follow)
                return
        left = newest_envelope(world.remote_of(record), record.run_id)
        if left is Missing.ABSENT and not record.judged:
            record = self.list_jobs(record.run_id)[0]
        kept = left.tail if isinstance(left, Envelope) else record.evidence or record.reason
        yield from kept.splitlines()

    def wait(self, run: str) -> RunResult:
        """Wait for a run's end and bring its output home, from any process of any store that is
        bound to the run's remote.

        Raises a RunFailed when it failed, RunNotFound, EngineError for a run on another machine's
        own engine, which cannot be asked from here.
        """
        from bundlerun.runs.watch import follow

        record, bundle = follow(self._record(run), self.world())
        return RunResult(record, {}, bundle)

    def cancel(self, run: str) -> RunRecord:
        """Stop a run's job; one that has ended is no error. The record as it is then.

        One that is being submitted at this moment is stopped by whoever submits it. Raises
        Conflict, and does nothing, where the job that is noted for the run is not one of it."""
        from bundlerun.runs.watch import cancel

        record = self._record(run)
        return record if record.settled else cancel(record, self.world())

    def _carried_out(
        self, request: RunRequest, *, wait: bool | None, dry_run: bool, build: bool
    ) -> RunResult:
        from bundlerun.runs.elsewhere import doing
        from bundlerun.runs.job_spec import check_backend_reaches, check_secrets_reach
        from bundlerun.runs.plan import plan_run
        from bundlerun.runs.scope import adopt_equal_work
        from bundlerun.runs.submit import start
        from bundlerun.runs.watch import follow

        engine = open_backend(request.backend, self.settings)
        engine.check_limits(retries=request.retries, timeout_s=request.timeout_s)
        check_secrets_reach(request)
        engine.check_options(request.options, request.secrets)
        world = self.world()
        check_backend_reaches(world.remote.url, request.backend)
        image = self._image(request, build=build)
        plan = plan_run(
            request, store=self.store, context=world.context, remote=world.remote, image=image
        )
        if plan.found is None:
            self._tell_what_differs(plan.promised())
        if dry_run:
            return RunResult(None, plan.to_json(), reused=plan.found is not None)
        if plan.found is not None:
            return RunResult(None, plan.to_json(), adopt_equal_work(plan, world), reused=True)
        forced = request.force or request.force_all
        equal = None if forced else doing(plan, world)
        if equal is not None:
            plan, record = equal
            self.progress.line(f"run {record.run_id[:13]} does this already: it is followed")
        else:
            record = start(plan, request, engine, world)
        result = RunResult(record, plan.to_json(), followed=equal is not None)
        if wait is None:
            wait = engine.traits.waits
        if not wait:
            return result
        if equal is None:
            self.progress.line(f"run {record.run_id}")
        record, bundle = follow(record, world)
        return dataclasses.replace(result, record=record, output=bundle)

    def _tell_what_differs(self, bundle: Bundle, entry: Entry | None = None) -> None:
        """Say on one line what kept ``bundle`` from being found; nothing where nothing differs."""
        if self.progress is SILENT:
            return
        from bundlerun.api.compare import Comparing
        from bundlerun.pipelines.why import in_short

        line = in_short(Comparing(self).why_in_short(bundle, entry))
        if line is not None:
            self.progress.line(line)

    def _record(self, run: str) -> RunRecord:
        """The run as the journal has it; else as the context's remote has it, in the journal from
        now on."""
        context = self.context()
        try:
            row = self.store.journal.get(context, run)
        except RunNotFound:
            if context.remote_url is None:
                raise
            from bundlerun.runs.elsewhere import adopt

            return adopt(run, self.world())
        return RunRecord.from_json(row.run, row.revision)

    def _maker_of(self, name: str) -> str | None:
        open_runs = self._readable(self.store.journal.unsettled(self.context()))
        own = [run.run_id for run in open_runs if run.output == name and not run.judged]
        if own:
            return own[0]
        from bundlerun.runs.elsewhere import maker_of

        return maker_of(name, self.world())

    def _readable(self, rows: Iterable[Row]) -> list[RunRecord]:
        """The records in rows of the journal; one that is damaged is in no other's way."""
        records = []
        for row in rows:
            try:
                records.append(RunRecord.from_json(row.run, row.revision))
            except IntegrityError as error:
                self.progress.line(f"(run {row.run.get('id')} is left out: {error})")
        return records

    def _settle_open_runs(self) -> None:
        rows = self.store.journal.unsettled(self.context())
        if rows:
            from bundlerun.runs.watch import refresh

            refresh(self._readable(rows), self.world())

    def _image(self, request: RunRequest, *, build: bool) -> ImageInfo:
        from bundlerun.runs.images import ImageRequest, image_for, noted_request

        settings = self.settings.images
        on_engine = traits_of(request.backend).image is ImageAt.ENGINE
        if build:
            noted = noted_request(self.store, request.module, settings)
            made = dataclasses.replace(noted or ImageRequest(Path.cwd(), ""), pipe=request.pipe)
            return self._made_image(made, push=not on_engine and _pushes(settings))
        return image_for(
            request.pipe,
            store=self.store,
            settings=settings,
            on_engine=on_engine,
        )

    def _recipe(self, request: ImageRequest) -> Recipe:
        from bundlerun.runs.images import recipe_of

        return recipe_of(request, self.settings.images, digests=self.store.stats.digests)

    def _made_image(self, request: ImageRequest, *, push: bool) -> ImageInfo:
        from bundlerun.images.publish import publish
        from bundlerun.runs.images import build_image, note_image

        settings = self.settings.images
        image = build_image(self._recipe(request), request.pipe, progress=self.progress)
        if push:
            image = publish(image, settings, self.aws, progress=self.progress)
        note_image(self.store, request, image, settings)
        return image


def _is_here(backend: Backend, handle: JobHandle) -> bool:
    """Whether the job is one that can be asked from this machine."""
    return backend.poll([handle])[handle.id].state is not JobState.ELSEWHERE


def _pushes(settings: ImageSettings) -> bool:
    return settings.registry is not None
