"""The options of a map, checked before anything is sent or looked up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlerun.backends.job import SIZES, Resources
from bundlerun.bundles.record import checked_name, checked_tags
from bundlerun.errors import UsageError
from bundlerun.pipelines.options import Keywords
from bundlerun.pipelines.overrides import Given
from bundlerun.registry import DEFAULT_BACKEND
from bundlerun.runs.calls.cost import Budget
from bundlerun.runs.calls.environment import EnvironmentRequest
from bundlerun.runs.limits import (
    SETTING,
    LeftOut,
    number,
    resources_of,
    retries_of,
    timeout_of,
    whole,
)
from bundlerun.settings import RunSettings, Settings

_NO_FACTOR = 1.0


@dataclass(frozen=True, kw_only=True)
class MapOptions(Keywords):
    """The options of a map.

    What is left out is as the settings say; None and 0 mean none and zero.

    ``backend`` names where the items run, ``kwargs`` go to each call. ``chunksize`` consecutive
    items share a container, or more of them where the machine has room for fewer containers; None:
    as many containers as there is room for, one an item on AWS Batch. ``env`` are variables of the
    containers. ``image`` is a DockerImage or the name of an image that has bundlerun; else one is
    made of ``base_image`` and ``requirements`` (a list, or the path of a file): those of the
    project, or what the function imports. ``timeout_s`` is the limit of one item, in seconds;
    ``retries``: so many more attempts after a lost machine. ``vcpus``, ``memory_mib`` and ``gpus``
    are what a container gets; with a ``memory_factor`` over 1 what ran out of memory goes again,
    with so many times more, while somebody follows the run. ``output`` names the bundle that the
    results become when all succeeded, ``tags`` stand on it. ``max_cost`` refuses what may cost
    more, at the price of a vCPU that the settings say.
    """

    _of = "a map"

    backend: str = DEFAULT_BACKEND
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    chunksize: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | Any | None = None
    requirements: Sequence[str] | str | Path | None = None
    base_image: str | None = None
    timeout_s: float | LeftOut | None = SETTING
    retries: int | LeftOut | None = SETTING
    vcpus: float | LeftOut | None = SETTING
    memory_mib: int | LeftOut | None = SETTING
    gpus: int | LeftOut | None = SETTING
    memory_factor: float | None = None
    output: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    max_cost: float | None = None


@dataclass(frozen=True)
class CallRequest:
    """One map, its options checked and resolved.

    ``asked`` names the fields of ``resources`` that are not the settings'; ``timeout_s`` None: no
    limit; ``output`` empty: no bundle is made; ``budget`` None: it may cost anything.
    """

    func: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    backend: str = DEFAULT_BACKEND
    chunksize: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | EnvironmentRequest | None = None
    requirements: Sequence[str] | Path | None = None
    base_image: str | None = None
    timeout_s: float | None = None
    retries: int = 0
    resources: Resources = field(default_factory=Resources)
    asked: frozenset[str] = frozenset()
    memory_factor: float = _NO_FACTOR
    output: str = ""
    output_tags: Mapping[str, str] = field(default_factory=dict)
    budget: Budget | None = None


def call_request(
    func: Callable[..., Any], options: MapOptions, settings: Settings, arguments: int | None
) -> CallRequest:
    """The request to call ``func`` with items of so many positional ``arguments``.

    None: as many as each item has. Nothing is asked of anybody. Raises UsageError for what cannot
    be meant.
    """
    if not callable(func):
        raise UsageError(
            f"what is mapped must be callable, not a {type(func).__name__}",
            hint="br.map(function, items)",
        )
    kwargs = _mapping("kwargs", options.kwargs)
    _check_signature(func, arguments, kwargs)
    env = Given.of(None, _texts("env", options.env)).env
    if options.tags and options.output is None:
        raise UsageError(
            "tags stand on the output, and no output is asked for", hint='output="NAME", tags={...}'
        )
    backend = _text("backend", options.backend)
    sizes = {name: getattr(options, name) for name in SIZES}
    resources, asked = resources_of(sizes, settings.run)
    timeout_s = timeout_of(options.timeout_s, settings.run)
    return CallRequest(
        func=func,
        kwargs=kwargs,
        backend=backend,
        chunksize=whole("chunksize", options.chunksize, 1, hint="chunksize=10"),
        env=env,
        image=_image(options),
        requirements=_requirements(options.requirements),
        base_image=_text("base_image", options.base_image) if options.base_image else None,
        timeout_s=timeout_s,
        retries=retries_of(options.retries, settings.run, backend),
        resources=resources,
        asked=asked,
        memory_factor=_factor(options.memory_factor),
        output="" if options.output is None else checked_name(options.output),
        output_tags=checked_tags(options.tags),
        budget=_budget(options.max_cost, timeout_s, settings.run),
    )


def _check_signature(
    func: Callable[..., Any], arguments: int | None, kwargs: Mapping[str, Any]
) -> None:
    """Refuse what ``func`` cannot be called with, as far as its signature tells.

    Raises UsageError.
    """
    try:
        signature = inspect.signature(func)
    except (TypeError, ValueError):
        return
    try:
        if arguments is None:
            signature.bind_partial(**kwargs)
        else:
            signature.bind(*[None] * arguments, **kwargs)
    except TypeError as error:
        name = getattr(func, "__qualname__", repr(func))
        raise UsageError(
            f"{name}{signature} cannot be called so: {error}",
            hint="an iterable for each positional argument, kwargs={...} for the others",
        ) from error


def _image(options: MapOptions) -> str | EnvironmentRequest | None:
    image = options.image
    if image is None:
        return None
    # A DockerImage, of a room to the right, says so what it is made of.
    wanted = image if isinstance(image, str) else getattr(image, "request", None)
    if not isinstance(wanted, (str, EnvironmentRequest)):
        raise UsageError(
            f"image must be a name or a DockerImage, not a {type(image).__name__}",
            hint='image="registry/name:tag"',
        )
    if image == "":
        raise UsageError("image is empty", hint="leave it out: one is made")
    for name in ("requirements", "base_image"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"an image is given, and {name} would change nothing in it",
                hint=f"leave out {name}, or image",
            )
    return wanted


def _requirements(given: Sequence[str] | str | Path | None) -> Sequence[str] | Path | None:
    if given is None or isinstance(given, Path):
        return given
    if isinstance(given, str):
        return Path(given)
    if not isinstance(given, Sequence) or not all(isinstance(line, str) for line in given):
        raise UsageError(
            f"requirements must be a list of lines or the path of a file, not {given!r:.80}",
            hint='requirements=["numpy==2.1.0"]',
        )
    return tuple(given)


def _factor(given: float | None) -> float:
    if given is None:
        return _NO_FACTOR
    factor = number("memory_factor", given, over=0, hint="memory_factor=2")
    if factor < _NO_FACTOR:
        raise UsageError(
            f"memory_factor={factor:g} would give less memory to what had too little",
            hint="memory_factor=2",
        )
    return factor


def _budget(
    max_cost: float | None, timeout_s: float | None, settings: RunSettings
) -> Budget | None:
    if max_cost is None:
        return None
    most = number("max_cost", max_cost, over=0, hint="max_cost=20")
    if timeout_s is None:
        raise UsageError(
            "max_cost needs a time limit: an item without one may cost anything",
            hint="timeout_s=3600, or timeout_s in [run] of config.toml",
        )
    price = settings.price_per_vcpu_hour
    if price is None:
        raise UsageError(
            "max_cost needs the price of a vCPU, and no setting gives it",
            hint="price_per_vcpu_hour = 0.05 in [run] of config.toml, or leave out max_cost",
        )
    return Budget(most, price)


def _text(name: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise UsageError(f"{name} must be a name, not {given!r:.80}", hint=f'{name}="NAME"')
    return given


def _mapping(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise UsageError(
            f"{name} must be a dict with texts as keys, not {given!r:.80}",
            hint=f'{name}={{"name": value}}',
        )
    return dict(given)


def _texts(name: str, given: Mapping[str, str]) -> dict[str, str]:
    found = _mapping(name, given)
    for key, value in found.items():
        if not isinstance(value, str):
            raise UsageError(
                f"{name}[{key!r}] must be text, not {value!r:.80}",
                hint=f'{name}={{"{key}": "..."}}',
            )
    return found
