"""Options and arguments that several verbs share, and the workspace they act on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bundlerun.cli.bars import Bars
from bundlerun.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def tag_option(*names: str, help: str) -> Callable[[F], F]:
    """A repeatable ``key:value`` option; the command gets a dict."""
    return click.option(
        *names, multiple=True, metavar="KEY:VALUE", help=help, callback=_parsed_tags
    )


def parsed_tags(values: Sequence[str]) -> dict[str, str]:
    """``key:value`` texts as a dict.

    Raises UsageError for one without a colon or a key.
    """
    found: dict[str, str] = {}
    for text in values:
        key, colon, value = text.partition(":")
        if not colon or not key:
            near = text.replace("=", ":", 1) if "=" in text else f"{key or 'KEY'}:VALUE"
            raise UsageError(f"the tag {text!r} must be KEY:VALUE", hint=near)
        found[key] = value
    return found


def _parsed_tags(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    return parsed_tags(values)


def given_options(command: F, *, backend: bool = False) -> F:
    """Add ``--set``, ``--env`` and ``--secret`` to ``command``.

    It gets ``config``, ``env``, ``secrets``. With ``backend``, ``--set`` takes options of the
    backend, too.
    """
    command = click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="NAME[=REFERENCE]",
        help="A variable for the pipe, kept out of keys, plans and logs; REFERENCE is"
        " what the backend's service calls it (AWS: its ARN). Repeatable.",
    )(command)
    command = click.option(
        "--env",
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable for the pipe, part of its reuse key; repeatable.",
        callback=_parsed_pairs,
    )(command)
    return click.option(
        "--set",
        "config",
        multiple=True,
        metavar="[SECTION.]KEY=VALUE" if backend else "SECTION.KEY=VALUE",
        help="A luigi setting for the pipe, part of its reuse key"
        + ("; without SECTION, an option of the backend for this job" if backend else "")
        + "; repeatable.",
        callback=_parsed_pairs,
    )(command)


def _parsed_pairs(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            flag = param.opts[0]
            raise UsageError(
                f"{flag} {text} must be {param.metavar}", hint=f"{flag} {param.metavar}"
            )
        found[name] = value
    return found


def with_workspace(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` the command line's workspace as its first argument.

    The workspace's progress is drawn on this terminal.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from bundlerun.api.workspace import Workspace
        from bundlerun.settings import read_settings

        chosen = click.get_current_context().find_root().obj or {}
        workspace = Workspace(read_settings(), context=chosen.get("context"))
        try:
            with Bars(verbose=bool(chosen.get("verbose"))) as bars:
                workspace.progress = bars
                return command(workspace, *args, **kwargs)
        finally:
            workspace.close()

    return wrapped


def pipe_parameters(tokens: Sequence[str]) -> dict[str, str]:
    """The parameters after the pipe's class, ``--name value`` or ``--name=value``.

    A ``--name`` with no value is a switch: "true". Raises UsageError for anything else.
    """
    found: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token == "--":
            raise UsageError(
                f"{token!r} after the pipe's class is not a --parameter", hint="--PARAM VALUE"
            )
        name, equals, value = token[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        found[name.replace("-", "_")] = value
    return found


def usage_of(ctx: click.Context) -> str:
    """How the command is typed: its arguments in order."""
    return " ".join(ctx.get_usage().removeprefix("Usage: ").split())


class PipeCommand(click.Command):
    """A verb that takes a pipe.

    An option that it does not know is likely the pipe's own.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """click's own, with a hint at the place of a pipe's parameters.

        It stands instead of a similar option's name.
        """
        try:
            rest = super().parse_args(ctx, args)
            if str(ctx.params.get("pipe")).startswith("-"):
                raise UsageError("IN, OUT or the pipe's class is missing", hint=usage_of(ctx))
            return rest
        except click.NoSuchOption as error:
            near = [
                flag for flag in error.possibilities or () if flag.startswith(error.option_name)
            ]
            raise UsageError(
                f"{error.option_name} is not an option of bundlerun {ctx.info_name}, and the pipe's"
                " own parameters follow its class",
                hint=near[0] if near else f"{ctx.command_path} -h",
            ) from error


def misplaced(parameters: dict[str, str], command: click.Command) -> str | None:
    """A hint when one of the pipe's ``parameters`` is an option of ``command`` itself."""
    ours = {
        flag.lstrip("-").replace("-", "_"): flag
        for option in command.params
        for flag in option.opts
        if isinstance(option, click.Option)
    }
    found = sorted(ours.keys() & parameters.keys())
    if not found:
        return None
    flag = ours[found[0]]
    return f"{flag} before IN: bundlerun's own options stand there, the pipe's after its class"
