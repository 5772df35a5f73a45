"""The Pipe: a luigi task whose output is a bundle."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import luigi
from luigi.parameter import (
    DuplicateParameterException,
    MissingParameterException,
    Parameter,
    UnknownParameterException,
    _no_value,
)
from luigi.worker import TaskException

from bundlerun.bundles.record import checked_name
from bundlerun.errors import BadModule, BadParameter, UsageError
from bundlerun.pipelines.loaded import note_loaded
from bundlerun.pipelines.override_scope import given_value

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# What luigi calls on a task and the engine answers for: overriding one has no effect here.
_ENGINE_METHODS = frozenset({"run", "output", "input", "complete", "deps", "_requires"})

# What luigi's own scheduler goes by, and nothing here.
_UNUSED = frozenset(
    {
        "accepts_messages",
        "disable_hard_timeout",
        "disable_window",
        "disable_window_seconds",
        "disabled",
        "max_batch_size",
        "owner_email",
    }
)

# Set on tasks by luigi while they run, so no class attribute shows them.
_RUN_TIME_NAMES = frozenset(
    {
        "task_id",
        "param_kwargs",
        "set_tracking_url",
        "set_status_message",
        "set_progress_percentage",
        "decrease_running_resources",
        "scheduler_messages",
        "pipeline_input",
        "self",
    }
)


class Scratch:
    """A folder made on first use, below ``parent`` (None: the system's)."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self.made: Path | None = None

    @property
    def path(self) -> Path:
        """The folder, empty at first."""
        if self.made is None:
            self.made = Path(tempfile.mkdtemp(prefix="bundlerun-pipe-", dir=self._parent))
        return self.made


class RunByLuigi(UsageError, TaskException):
    """luigi was asked to run a pipe.

    A TaskException, for luigi catches the others and goes on.
    """


if TYPE_CHECKING:

    class _Register(type):
        """luigi's own: with none, mypy takes a class for no Hashable."""

    class _Task(metaclass=_Register):
        """The part of luigi.Task that a user's code may touch, for type checkers.

        luigi calls its own a dataclass, of which they find parameters without annotations to be no
        arguments.
        """

        task_id: str
        task_family: str
        param_kwargs: dict[str, Any]
        priority: int
        resources: dict[str, Any]
        retry_count: int | None
        worker_timeout: int | None

        def __init__(self, *args: Any, **parameters: Any) -> None: ...

        def clone(self, cls: type[T] | None = None, **parameters: Any) -> T: ...

        def set_progress_percentage(self, percentage: float) -> None: ...

        def set_status_message(self, message: str) -> None: ...

        def set_tracking_url(self, url: str) -> None: ...

        def process_resources(self) -> dict[str, Any]: ...

        def on_failure(self, exception: BaseException) -> Any: ...

        def on_success(self) -> Any: ...

        def trigger_event(self, event: Any, *args: Any, **kwargs: Any) -> None: ...

        def to_str_params(
            self, only_significant: bool = False, only_public: bool = False
        ) -> dict[str, str]: ...

        @classmethod
        def event_handler(cls, event: Any) -> Callable[[F], F]: ...

        @classmethod
        def get_params(cls) -> list[tuple[str, Any]]: ...

        @classmethod
        def get_param_names(cls, include_significant: bool = False) -> list[str]: ...

        @classmethod
        def get_task_family(cls) -> str: ...

else:
    _Task = luigi.Task


class Pipe(_Task):
    """One step of a pipeline, with luigi parameters, ``requires()`` and ``pipe_run``.

    ``requires()`` returns a dict of pipes and of ``external(name, tags)``; their values are keyword
    arguments of ``pipe_run``, under the dict's keys. A Pipe is known by its module and class name,
    so it stands at the top level of a module. luigi's configuration files do not change the
    defaults of its parameters; ``--set package.module.Class.name=value`` does.
    """

    _scratch: ClassVar[Scratch | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)
        for name in sorted(_UNUSED & vars(cls).keys()):
            warnings.warn(
                f"{cls.__qualname__} sets {name}, which has no effect on a Pipe", stacklevel=2
            )
        note_loaded(cls.__module__)

    def requires(self) -> Mapping[str, Any]:
        """The dependencies of this pipe: a dict of Pipe and External objects.

        Its keys are the names of the arguments of ``pipe_run`` that get the values.
        """
        return {}

    def pipe_run(self, *args: Any, **kwargs: Any) -> Any:
        """The value of this pipe: ``pipe_run(self, pipeline_input, **dependencies)``.

        ``pipeline_input`` is the value of the input bundle (None without one), the same for every
        pipe of a pipeline; each dependency's value comes under its key.
        """
        raise BadModule(
            f"{type(self).__qualname__} has no pipe_run method",
            hint="def pipe_run(self, pipeline_input, ...), returning the value",
        )

    def run(self) -> None:
        """Refuse to run: a pipe is run by ``bundlerun.apply``.

        Raises UsageError.
        """
        raise _run_by_luigi(self)

    def initialized(self) -> bool:
        """Refuse to be run by luigi, which asks this first of a task.

        Raises UsageError: luigi would find no ``output()``, do nothing and report success.
        """
        raise _run_by_luigi(self)

    @property
    def scratch(self) -> Path:
        """A folder to write files in, fresh for each run of ``pipe_run``.

        It is removed once the value that ``pipe_run`` returned is kept. Raises UsageError at any
        other time.
        """
        if self._scratch is None:
            raise UsageError(
                "self.scratch exists only while pipe_run runs",
                hint="self.scratch inside of pipe_run, or tempfile.mkdtemp()",
            )
        return self._scratch.path

    @classmethod
    def get_task_namespace(cls) -> str:
        """The module: luigi then tells two classes of one name apart."""
        return str(cls.__module__)

    @classmethod
    def get_params(cls) -> list[tuple[str, Any]]:
        """The parameters' names and themselves, in the order of the class: luigi's list.

        luigi asks ``dir`` and each attribute, five times for each task; the classes' own
        dictionaries tell the same for a tenth. Nothing is kept: a class may be extended later.
        """
        named: dict[str, Any] = {}
        for owner in reversed(cls.__mro__):
            named.update(vars(owner))
        found = [item for item in named.items() if isinstance(item[1], Parameter)]
        return sorted(found, key=lambda item: (item[1]._counter, item[0]))

    @classmethod
    def get_param_values(
        cls, params: list[tuple[str, Any]], args: Any, kwargs: Mapping[str, Any]
    ) -> list[tuple[str, Any]]:
        """The values of ``params``, without luigi's configuration files and command line.

        This replaces luigi's: a default is the default, unless ``--set`` says something else.
        Raises luigi's own exceptions for unknown, missing and repeated parameters.
        """
        name = cls.get_task_family()
        known = dict(params)
        positional = [key for key, param in params if param.positional]
        if len(args) > len(positional):
            raise UnknownParameterException(
                f"{name} takes {len(positional)} parameters, and {len(args)} are given"
            )
        given = dict(zip(positional, args, strict=False))
        for key, value in kwargs.items():
            if key in given:
                raise DuplicateParameterException(f"{name}: {key} is given twice")
            if key not in known:
                raise UnknownParameterException(f"{name} has no parameter {key}")
            given[key] = value
        found = []
        for key, param in params:
            value = given[key] if key in given else given_value(param, name, key)
            value = param._default if value is _no_value else value
            if value is _no_value:
                raise MissingParameterException(f"{name} needs the parameter {key}")
            value = param.normalize(value)
            # As luigi does: task objects are kept by their parameters, which must be hashable.
            found.append((key, tuple(value) if isinstance(value, list | set) else value))
        return found


def _run_by_luigi(pipe: Pipe) -> RunByLuigi:
    name = f"{pipe.__module__}.{type(pipe).__qualname__}"
    return RunByLuigi(
        f"{name} is a Pipe, which luigi itself cannot run",
        hint=f"br.apply(INPUT, OUTPUT, {type(pipe).__qualname__}), or: bundlerun apply INPUT OUTPUT"
        f" {name}",
    )


_RESERVED = frozenset(dir(Pipe)) | _RUN_TIME_NAMES


def check_class(cls: type[Pipe]) -> None:
    """Refuse a Pipe class that would not work.

    Raises BadParameter for a parameter of a reserved name, BadModule for a class that luigi would
    run otherwise than the engine does.
    """
    for base in cls.__mro__:
        if base in Pipe.__mro__:
            continue
        for name, value in vars(base).items():
            if isinstance(value, luigi.Parameter) and name in _RESERVED:
                raise BadParameter(
                    f"{cls.__qualname__}: luigi or bundlerun uses the name {name!r} already, "
                    "and a parameter cannot have it",
                    hint="another name for the parameter",
                )
            if name in _ENGINE_METHODS:
                raise BadModule(
                    f"{cls.__qualname__} defines {name}, which a Pipe leaves to the engine",
                    hint="def pipe_run(self, pipeline_input, ...), returning the value",
                )
    if inspect.isgeneratorfunction(cls.pipe_run) or inspect.iscoroutinefunction(cls.pipe_run):
        raise BadModule(
            f"{cls.__qualname__}.pipe_run is a generator or coroutine; dependencies that are "
            "found while running are not supported",
            hint="name them in requires(), and return the value",
        )


def has_pipe_run(cls: type[Pipe]) -> bool:
    """Whether the class can run: one without ``pipe_run`` is a base for others."""
    return cls.pipe_run is not Pipe.pipe_run


@dataclass(frozen=True)
class External:
    """The latest bundle called ``name`` that has all of ``tags``."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


def external(name: str, tags: Mapping[str, str] | None = None) -> External:
    """For ``requires()``: the latest bundle called ``name`` that has all of ``tags``.

    Raises BadName. Whether there is one is asked when the pipeline runs.
    """
    return External(checked_name(name), dict(tags or {}))
