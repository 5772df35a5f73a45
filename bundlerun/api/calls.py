"""Maps in the caller's hand: from a function and its inputs to futures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from bundlerun.api.hints import in_python
from bundlerun.errors import UsageError

if TYPE_CHECKING:
    from bundlerun.api.docker_image import DockerImage
    from bundlerun.api.scope import Scope
    from bundlerun.futures.future import MapRun
    from bundlerun.runs.calls.call import Call
    from bundlerun.runs.calls.options import MapOptions


T = TypeVar("T")


def mapped(
    scope: Scope,
    func: Callable[..., T] | DockerImage,
    iterables: tuple[Iterable[Any], ...],
    options: MapOptions,
) -> MapRun[T]:
    """The run of ``Workspace.map``.

    Raises as it does.
    """
    if not iterables:
        raise UsageError("a map needs items", hint="br.map(f, items)")
    for at, iterable in enumerate(iterables, 1):
        _check_iterable(iterable, f"argument {at} of the function")
    tuples = zip(*iterables, strict=False)
    return begun(scope, func, tuples, options, arguments=len(iterables))


def starmapped(
    scope: Scope,
    func: Callable[..., T] | DockerImage,
    tuples: Iterable[Any],
    options: MapOptions,
) -> MapRun[T]:
    """The run of ``Workspace.starmap``.

    Raises as it does.
    """
    _check_iterable(tuples, "the tuples of arguments")
    return begun(scope, func, _as_tuples(tuples), options, arguments=None)


def begun(
    scope: Scope,
    func: Callable[..., T] | DockerImage,
    tuples: Iterable[object],
    options: MapOptions,
    *,
    arguments: int | None,
    uploaded: dict[str, Any] | None = None,
) -> MapRun[T]:
    """A run of ``func`` over tuples of positional arguments, submitted and followed.

    ``func`` may be a DockerImage: what that is for is called, in it. ``arguments`` is how many each
    tuple has, None: it differs. ``uploaded`` notes the functions that were sent, for who begins
    several runs.
    """
    from bundlerun.api.docker_image import DockerImage
    from bundlerun.futures.script import run_script
    from bundlerun.runs.calls.options import call_request
    from bundlerun.runs.calls.submit import submit

    runs = scope.runs()
    if not isinstance(func, DockerImage):
        called: Callable[..., Any] = func
    else:
        options = _in_image(func, options)
        called = func.func or run_script
        if func.func is None:
            tuples, arguments = _argument_lists(tuples, arguments), 1
    with in_python():
        request = call_request(called, options, scope.settings, arguments)
        call = submit(request, tuples, runs, uploaded=uploaded)
    scope.progress.line(f"run {call.run_id}")
    return followed(scope, call)


def _in_image(image: DockerImage, options: MapOptions) -> MapOptions:
    if options.image is not None:
        raise UsageError(
            f"{image!r} is mapped, and another image is given for it", hint="leave out image"
        )
    return options.but(image=image)


def _argument_lists(tuples: Iterable[Any], arguments: int | None) -> Iterator[object]:
    """The items of a script.

    What is not a list of arguments is refused where it comes, before anything is sent. A tuple of
    ``starmap`` (``arguments`` None) is such a list itself.
    """
    from bundlerun.futures.script import script_arguments

    if arguments not in (None, 1):
        raise UsageError(
            f"a script takes a list of arguments an item, and {arguments} iterables are given",
            hint="br.map(image, [[argument, ...], ...])",
        )
    return ((script_arguments(each if arguments is None else each[0]),) for each in tuples)


def attached(scope: Scope, run_id: str, *, trust: bool) -> MapRun[Any]:
    """The run of ``Workspace.attach``.

    Raises as it does.
    """
    from bundlerun.runs.calls.attach import attached

    return followed(scope, attached(run_id, scope.runs()), trust=trust, is_new=False)


def followed(scope: Scope, call: Call, *, trust: bool = False, is_new: bool = True) -> MapRun[Any]:
    """The futures of ``call``."""
    from bundlerun.api.handle import handed_out
    from bundlerun.futures.future import MapRun
    from bundlerun.runs.calls.follow import Following

    context = call.scope.context.name
    following = Following(
        call, trust=trust, hand_out=lambda bundle: handed_out(bundle, scope, context)
    )
    run: MapRun[Any] = MapRun(call.run_id, call.task.items, following, is_new=is_new)
    return run.follow()


def _check_iterable(value: object, what: str) -> None:
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError as error:
        raise UsageError(
            f"{what} must come from an iterable, not from a {type(value).__name__}",
            hint="br.map(f, [item, ...])",
        ) from error


def _as_tuples(tuples: Iterable[Any]) -> Iterator[object]:
    """As ``itertools.starmap`` takes them: lists too."""
    for each in tuples:
        yield tuple(each) if isinstance(each, list) else each
