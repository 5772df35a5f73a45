"""The session of one apply: what is known of each pipe, and how one is run."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from luigi import Event

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.record import BundleRecord, checked_tags, new_id
from bundlerun.errors import BadModule, BadPath, BadValue, BundleNotFound
from bundlerun.pipelines import events, failures, parameters
from bundlerun.pipelines.git import git_version
from bundlerun.pipelines.graph import Node
from bundlerun.pipelines.imports import file_digest
from bundlerun.pipelines.inner import inner_of, inside
from bundlerun.pipelines.loaded import check_loaded
from bundlerun.pipelines.loader import ModuleLocation
from bundlerun.pipelines.luigid import Luigid
from bundlerun.pipelines.override_scope import image_left_out, said_elsewhere
from bundlerun.pipelines.overrides import (
    Given,
    check_files,
    check_secrets,
    checked,
    in_key,
    parsed_secrets,
)
from bundlerun.pipelines.parameters import sections_of
from bundlerun.pipelines.pipe import Pipe, Scratch
from bundlerun.pipelines.processes import Tell
from bundlerun.pipelines.reuse_key import task_key
from bundlerun.pipelines.source import Source, source_of
from bundlerun.pipelines.targets import Draft
from bundlerun.pipelines.untracked import Told, Watch, warn_of, watching
from bundlerun.progress import Lines

if TYPE_CHECKING:
    from bundlerun.pipelines.options import ApplyOptions
    from bundlerun.pipelines.targets import Targets
    from bundlerun.store.rows import Entry


@dataclass(frozen=True)
class Target:
    """The target of an apply: its input, its output's name, and its pipes.

    The top pipe is the last of ``nodes``.
    """

    input: BundleRecord | None
    output: str
    nodes: Sequence[Node]


class Session:
    """The state of one apply.

    Nothing of it is kept on pipes or classes, which luigi shares between applies and threads.
    """

    def __init__(
        self, host: Targets, target: Target, options: SessionOptions, environment: str
    ) -> None:
        self.host = host
        self.target = target
        self.options = options
        self.environment = environment
        self.top = target.nodes[-1]
        self.ran: list[str] = []
        self.reused: list[str] = []
        self.done: dict[Node, Entry] = {}
        self._externals: dict[tuple[str, tuple[tuple[str, str], ...]], Entry] = {}
        self._sources: dict[ModuleLocation, Source] = {}
        self._waiting: dict[Node, int] = {}
        self._needed_by: dict[Node, list[Node]] = {}
        self._token = new_id()
        self._folder: Path | None = None
        self._told = Told()
        self._given: tuple[Mapping[str, str], Mapping[str, str]] = {}, {}

    def take(self, given: Given) -> None:
        """Let ``given``, with what an apply around this one was given, into all keys.

        Raises BadParameter for a setting that the pipeline does not have, SettingsError where a
        luigi file sets what its classes have, BadModule for source that cannot be read.
        """
        modules: dict[str, Path] = {}
        for home in dict.fromkeys(node.home for node in self.target.nodes):
            modules.update(self._source(home).modules)
        sections = sections_of(modules)
        checked(self.options.given, sections)
        check_files(given, sections, said_elsewhere())
        self._given = in_key(given, sections), given.env

    def plan(self) -> list[Node]:
        """Find what equal work has made; the pipes that are left and can start now.

        To be called after ``take``. Raises BundleNotFound for an external that is not there, before
        anything runs.
        """
        for node in self.target.nodes:
            for wanted in node.externals.values():
                key = (wanted.name, tuple(sorted(wanted.tags.items())))
                if key not in self._externals:
                    self._externals[key] = self.host.external(wanted)
        for node in self.target.nodes:
            for other in set(node.pipes.values()):
                node.pipe.trigger_event(Event.DEPENDENCY_DISCOVERED, node.pipe, other.pipe)
            needed = [n for n in set(node.pipes.values()) if n not in self.done]
            found = None if needed else self._found(node)
            if found is not None:
                self._settle(node, found, ran=False)
                continue
            self._waiting[node] = len(needed)
            for other in needed:
                self._needed_by.setdefault(other, []).append(node)
        return [node for node, count in self._waiting.items() if count == 0]

    def carry_out(self, node: Node, tell: Tell) -> tuple[str, bool]:
        """See scheduler.Work."""
        # Again: its dependencies may have come out as they did before, and somebody else may
        # have made it meanwhile.
        entry = self._found(node)
        ran = entry is None
        if entry is None:
            entry = self._made(node, tell)
        self.done[node] = entry
        return entry.bundle.id, ran

    def settled(self, node: Node, id: str, ran: bool) -> Sequence[Node]:
        """Take the bundle that ``node`` made; the pipes that can start now.

        See scheduler.Work. Raises BundleNotFound when another process removed the bundle.
        """
        entry = self.done.get(node) or self.host.by_id(id)
        if entry is None:
            raise BundleNotFound(
                f"the bundle {id} that {node.name} made has been removed since",
                hint="the same command again",
            )
        self._settle(node, entry, ran=ran)
        ready = []
        for other in self._needed_by.get(node, ()):
            self._waiting[other] -= 1
            if self._waiting[other] == 0:
                ready.append(other)
        return ready

    def make_folder(self) -> None:
        """Make the folder of all scratch folders.

        It is made before children are forked, for the parent to remove what a killed child leaves.
        """
        if self._folder is None:
            self._folder = self._told.folder = Path(tempfile.mkdtemp(prefix="bundlerun-"))

    def close(self) -> None:
        """Remove the folder, and what pipes that failed or were killed have left."""
        self.host.drop_inner(self._token)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _settle(self, node: Node, entry: Entry, *, ran: bool) -> None:
        self.done[node] = entry
        (self.ran if ran else self.reused).append(node.name)
        if not ran:
            node.pipe.trigger_event(Event.DEPENDENCY_PRESENT, node.pipe)
        self.host.finished(entry)

    def _found(self, node: Node) -> Entry | None:
        options = self.options
        if options.force_all or (options.force and node is self.top):
            return None
        key = self._key(node)
        if node is self.top:
            return self._found_top(key)
        entry = self.host.find(key)
        return None if entry is None else self._committed(entry)

    def _found_top(self, key: ReuseKey) -> Entry | None:
        latest = self.host.latest(self.target.output)
        if latest is not None and self._answers(latest, key):
            return self._committed(latest)
        hit = self.host.find(key)
        if hit is None:
            return None
        if hit.bundle.id == self.options.output_id:
            return self._committed(hit)  # An earlier attempt got as far as this.
        lineage = replace(hit.bundle.lineage, run=self.options.run, request=self._request)
        bundle = BundleRecord(
            id=self.options.output_id or new_id(),
            name=self.target.output,
            root=hit.bundle.root,
            params=hit.bundle.params,
            tags=dict(self.options.output_tags),
            lineage=lineage,
        )
        return self.host.add_root(bundle, commit=self.options.commit)

    def _answers(self, latest: Entry, key: ReuseKey) -> bool:
        """Whether the latest version of the output is what a new one would be."""
        task = latest.bundle.lineage.task
        tags = self.options.output_tags.items() <= latest.bundle.tags.items()
        return tags and task is not None and task.digest == key.digest

    def _committed(self, entry: Entry) -> Entry:
        return self.host.commit(entry) if self.options.commit and not entry.committed else entry

    def _made(self, node: Node, tell: Tell) -> Entry:
        """Run the pipe and keep its value.

        Raises UserError, and leaves no trace then.
        """
        values = self._values(node)
        scratch = Scratch(self._folder)
        pipe = events.at_work(node.pipe, scratch, tell)
        given = [bundle for _, bundle in self._goes_in(node)]
        lines = Lines(events.status(tell))
        inner = inner_of(self.host, self._token, node.name, given, lines)
        inner.luigid = self.options.luigid
        pipe.trigger_event(Event.START, pipe)
        try:
            with inside(inner):
                started_s = time.time()
                value = self._value(node, pipe, values)
                finished_s = time.time()
                draft = self._draft(node, started_s, finished_s, inner.parents())
                entry = self._kept(node, pipe, replace(draft, scratch=scratch.made), value)
            inner.keep(commit=self.options.commit)
        except BaseException:
            inner.forget()
            raise
        finally:
            if scratch.made is not None:
                shutil.rmtree(scratch.made, ignore_errors=True)
        pipe.trigger_event(Event.PROCESSING_TIME, pipe, finished_s - started_s)
        pipe.trigger_event(Event.SUCCESS, pipe)
        return entry

    def _value(self, node: Node, pipe: Pipe, values: Mapping[str, object]) -> object:
        input_value = self.target.input and self.host.value(self.target.input)
        watch = Watch(str(node.home.root), self._source(node.home).digests, self.host.is_own)
        try:
            with watching(watch):
                value = pipe.pipe_run(input_value, **values)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failed = failures.raised_in(node.name, "pipe_run", error)
            raise events.told(pipe, error, failed) from error
        finally:
            warn_of(watch, node.name, self._told)
        self._check_unedited(node, watch)
        return value

    def _check_unedited(self, node: Node, watch: Watch) -> None:
        """Refuse a file that the pipe read and that is not what its key says.

        Raises BadModule.
        """
        names = watch.tracked()
        held = self.host.digests([node.home.root / name for name in names])
        for name, digest in zip(names, held, strict=True):
            if digest != watch.counted[name]:
                raise BadModule(
                    f"{node.home.root / name} was edited while {node.name} ran, so no key can name"
                    " what its value is made of",
                    hint="the same command again",
                )

    def _kept(self, node: Node, pipe: Pipe, draft: Draft, value: object) -> Entry:
        try:
            entry = self.host.add(draft, value, commit=self.options.commit)
        except (BadPath, BadValue) as error:
            raise events.told(pipe, error, failures.not_kept(node.name, error)) from error
        try:
            pipe.on_success()
        except BaseException as error:
            self.host.drop(entry)
            if isinstance(error, KeyboardInterrupt):
                raise
            failed = failures.raised_in(node.name, "on_success", error)
            raise events.told(pipe, error, failed) from error
        return entry

    def _values(self, node: Node) -> dict[str, object]:
        needed = {key: entry.bundle for _, key, entry in self._inputs(node)}
        return {key: self.host.value(bundle) for key, bundle in needed.items()}

    def _inputs(self, node: Node) -> list[tuple[str, str, Entry]]:
        """The inputs besides the pipeline input: role, argument and bundle of each."""
        found = [(key, key, self.done[other]) for key, other in node.pipes.items()]
        for key, wanted in node.externals.items():
            entry = self._externals[wanted.name, tuple(sorted(wanted.tags.items()))]
            found.append((f"external:{key}", key, entry))
        return found

    def _goes_in(self, node: Node) -> list[tuple[str, BundleRecord]]:
        """All that goes in: role and bundle."""
        given = [("pipeline_input", self.target.input)] if self.target.input else []
        return given + [(role, entry.bundle) for role, _, entry in self._inputs(node)]

    def _draft(
        self, node: Node, started_s: float, finished_s: float, made: Sequence[Parent]
    ) -> Draft:
        is_top = node is self.top
        given = [Parent(role, b.name, b.id, b.root.digest) for role, b in self._goes_in(node)]
        source = self._source(node.home)
        code = CodeVersion(source.digest, *self._git, source.recorded())
        lineage = Lineage(
            pipe=node.name,
            parents=(*given, *made),
            code=code,
            image=self.options.image,
            run=self.options.run,
            task=self._key(node),
            request=self._request if is_top else None,
            started_s=started_s,
            finished_s=finished_s,
        )
        return Draft(
            name=self.target.output if is_top else node.name,
            id=self.options.output_id if is_top else None,
            params=parameters.recorded(node.pipe),
            tags=dict(self.options.output_tags) if is_top else {},
            lineage=lineage,
        )

    def _key(self, node: Node) -> ReuseKey:
        roots: Mapping[str, Digest] = {
            key: entry.bundle.root.digest for _, key, entry in self._inputs(node)
        }
        bundle = self.target.input
        return task_key(
            pipe=node.name,
            source=self._source(node.home).digest,
            params=node.params,
            input_root=None if bundle is None else bundle.root.digest,
            dependencies=roots,
            environment=self.environment,
            config=self._given[0],
            env=self._given[1],
        )

    @property
    def _request(self) -> ReuseKey | None:
        # A client cannot know which externals a pipeline has, so a request that has some is not
        # to be answered without looking at them.
        return None if self._externals else self.options.request

    def _source(self, home: ModuleLocation) -> Source:
        if home not in self._sources:
            found = source_of(
                home.root,
                home.module,
                within=home.within,
                digests=self.host.digests,
                left_out=image_left_out(),
            )
            for name, path in found.modules.items():
                check_loaded(name, path, file_digest(path))
            self._sources[home] = found
        return self._sources[home]

    @cached_property
    def _git(self) -> tuple[str | None, bool]:
        if self.options.code is not None:
            return self.options.code.commit, self.options.code.dirty
        home = self.top.home
        files = {file for found in self._sources.values() for file in found.files}
        inside = sorted(f for f in files if f.is_relative_to(home.root))
        return git_version(home.root, inside) or (None, False)


@dataclass(frozen=True)
class SessionOptions:
    """The options of an apply, and what its records say.

    ``workers`` over 1 runs pipes in child processes; ``force`` runs the last pipe whatever is
    there, ``force_all`` every pipe; ``commit`` commits all outputs. ``environment`` None: this
    machine's; ``pipe_root``: where a script that runs as ``__main__`` counts from (None: the
    working directory). ``code`` gives git's commit and state where there is no git (None: ask
    git); ``run``, ``image`` and ``request`` go into the lineage; ``output_id`` is the id that
    the output is to have when it is made. ``left_out`` is given inside an image: the digests of
    what its build left out for its size, by path. ``given`` is what ``--set`` and ``--env`` say.
    ``luigid`` is told of the graph, where it names a place.
    """

    workers: int = 1
    force: bool = False
    force_all: bool = False
    output_tags: Mapping[str, str] = field(default_factory=dict)
    commit: bool = False
    environment: str | None = None
    pipe_root: Path | None = None
    code: CodeVersion | None = None
    run: str | None = None
    image: str | None = None
    request: ReuseKey | None = None
    output_id: str | None = None
    left_out: Mapping[str, Digest] | None = None
    given: Given = field(default_factory=Given)
    luigid: Luigid = field(default_factory=Luigid)


def session_options(options: ApplyOptions) -> SessionOptions:
    """The session's options as the user's ``options`` mean them.

    Raises BadName, UsageError, SettingsError.
    """
    given = Given.of(options.config, options.env)
    check_secrets(parsed_secrets(options.secrets), given)
    return SessionOptions(
        workers=options.workers,
        force=options.force,
        force_all=options.force_all,
        output_tags=checked_tags(options.output_tags),
        commit=options.commit,
        pipe_root=Path(options.pipe_root or Path.cwd()),
        given=given,
    )
