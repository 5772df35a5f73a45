"""The graph of a pipeline: walked once, without recursion, dependencies first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bundlerun.errors import BadModule
from bundlerun.pipelines import failures, parameters
from bundlerun.pipelines.loader import ModuleLocation
from bundlerun.pipelines.pipe import External, Pipe, check_class, has_pipe_run

MAX_PIPES = 100_000
"""More pipes than this in one pipeline are taken for a requires() that never ends."""

Identity = tuple[type[Pipe], tuple[tuple[str, str], ...]]


@dataclass(eq=False)
class Node:
    """One pipe of the graph; ``params`` are the significant ones."""

    pipe: Pipe
    name: str
    home: ModuleLocation
    params: Mapping[str, str]
    pipes: dict[str, Node] = field(default_factory=dict)
    externals: dict[str, External] = field(default_factory=dict)


def walk(top: Pipe, home_of: Callable[[type[Pipe]], ModuleLocation]) -> list[Node]:
    """The pipes that ``top`` needs, itself last, each after all that it needs.

    Each stands there once: the same class with the same significant parameters is the same pipe.
    Raises UserError when a ``requires()`` raises, BadModule for one that returns something else
    than a dict of pipes and externals, for a cycle, and for a class that cannot run.
    """
    nodes: dict[Identity, Node] = {}
    order: list[Node] = []
    checked: dict[type[Pipe], ModuleLocation] = {}

    def node_of(pipe: Pipe) -> tuple[Node, bool]:
        cls = type(pipe)
        params = parameters.significant(pipe)
        identity = (cls, tuple(params.items()))
        if identity in nodes:
            return nodes[identity], False
        if cls not in checked:
            checked[cls] = _checked(cls, home_of)
        home = checked[cls]
        if len(nodes) == MAX_PIPES:
            raise BadModule(
                f"the pipeline has over {MAX_PIPES} pipes: its requires() may never end",
                hint="a loop inside of one pipe_run, instead of a pipe for each round",
            )
        nodes[identity] = Node(pipe, f"{home.module}.{cls.__name__}", home, params)
        return nodes[identity], True

    first, _ = node_of(top)
    path: dict[Node, Iterator[tuple[str, Pipe]]] = {first: _needed(first)}
    while path:
        node, needed = next(reversed(path.items()))
        following = next(needed, None)
        if following is None:
            order.append(node)
            del path[node]
            continue
        key, pipe = following
        below, is_new = node_of(pipe)
        if below in path:
            raise BadModule(
                f"the pipes require each other: {_cycle(list(path), below)}",
                hint="remove one of these from requires()",
            )
        node.pipes[key] = below
        if is_new:
            path[below] = _needed(below)
    return order


def _checked(cls: type[Pipe], home_of: Callable[[type[Pipe]], ModuleLocation]) -> ModuleLocation:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not has_pipe_run(cls):
        raise BadModule(
            f"{name} has no pipe_run method",
            hint="def pipe_run(self, pipeline_input, ...), returning the value",
        )
    check_class(cls)  # again: parameters may have been added since, by luigi.util.inherits
    return home_of(cls)


def _needed(node: Node) -> Iterator[tuple[str, Pipe]]:
    """The pipes that ``requires()`` names; its externals are noted on the way."""
    pipe = node.pipe
    try:
        required = pipe.requires()
    except (
        Exception,
        SystemExit,
    ) as error:  # requires() is the user's: whatever it raises is theirs
        raise failures.raised_in(node.name, "requires", error) from error
    if not required and (required is None or isinstance(required, list | tuple | dict)):
        required = {}
    if not isinstance(required, Mapping):
        raise BadModule(
            f"{node.name}.requires() returned a {type(required).__name__}, not a dict",
            hint='return {"name": Pipe()}, where pipe_run has an argument called name',
        )
    found: list[tuple[str, Pipe]] = []
    for key, value in required.items():
        if not isinstance(key, str) or not key.isidentifier() or key in ("self", "pipeline_input"):
            raise BadModule(
                f"{node.name}.requires() has the key {key!r}, which cannot be an argument "
                "of pipe_run",
                hint='return {"name": Pipe()}, with any name but self and pipeline_input',
            )
        if isinstance(value, External):
            node.externals[key] = value
        elif isinstance(value, Pipe):
            found.append((key, value))
        else:
            raise BadModule(
                f"{node.name}.requires() has a {type(value).__name__} under {key!r}, "
                "which is neither a Pipe nor bundlerun.external(name)",
                hint=f'return {{"{key}": Pipe()}}, or br.external("NAME") for a bundle',
            )
    _check_call(node, list(required))
    return iter(found)


def _check_call(node: Node, keys: list[str]) -> None:
    try:
        inspect.signature(node.pipe.pipe_run).bind(None, **dict.fromkeys(keys))
    except TypeError as error:
        wanted = ", ".join(["pipeline_input", *keys])
        raise BadModule(
            f"{node.name}.pipe_run does not take what requires() names: {error}",
            hint=f"def pipe_run(self, {wanted})",
        ) from error


def _cycle(path: list[Node], again: Node) -> str:
    names = [node.name for node in path[path.index(again) :]]
    return " -> ".join([*names, again.name])
