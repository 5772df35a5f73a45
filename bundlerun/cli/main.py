"""The entry point: find the verb, run it, turn errors into an exit code.

An error is one line.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable

import click

from bundlerun import __version__
from bundlerun.errors import BundlerunError, RunFailed, UntrackedFile, UsageError

VERBS = {
    "context": "Make, list or delete contexts.",
    "switch": "Choose the context for the commands that follow.",
    "remote": "Bind a context to s3://bucket/prefix or file:///dir.",
    "add": "Add files, folders or tables as a new bundle version.",
    "ls": "List bundles.",
    "cat": "Show what a bundle holds.",
    "tag": "Set tags on a bundle.",
    "commit": "Mark a bundle to be kept.",
    "rm": "Remove bundles from this store, or from the remote too.",
    "lineage": "Draw what a bundle was made of.",
    "why": "Say why a bundle was made instead of found.",
    "diff": "Say what differs between two bundles.",
    "push": "Send committed bundles to the remote.",
    "pull": "Bring bundles from the remote.",
    "gc": "Free the space of unused data, here or on the remote.",
    "fsck": "Check every byte of the store or the remote, and repair it.",
    "apply": "Run a pipe here, in this process.",
    "dockerize": "Make the container image of a pipeline module.",
    "run": "Run a pipe in its container, here or on AWS Batch.",
    "jobs": "List runs and their states.",
    "logs": "Show what a run's job wrote.",
    "wait": "Wait for a run and bring its output home.",
    "cancel": "Stop a run.",
    "aws": "Make, look at and delete the resources on AWS that jobs run on.",
    "sandbox": "Run an AWS in a box, to try AWSBatch without an account.",
    "doctor": "Say what works, what does not, and how to mend it.",
    "worker": "",
}
"""The verbs, each with its line of help ("" hides it), in modules of their names."""

INTERRUPTED = 130
"""The exit code for Ctrl-C: 128 + SIGINT (the convention of POSIX shells)."""

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verbs(click.Group):
    """A group that imports a verb on use, and lists verbs without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of a first use."""
        return [verb for verb, line in VERBS.items() if line]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb, imported now; None when there is none of this name."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"bundlerun.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click's own, with the nearest verb named for one that is mistyped."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            raise UsageError(
                f"there is no command {args[0]!r}",
                hint=f"bundlerun {near[0]}" if near else "bundlerun -h",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, line in VERBS.items() if line])


@click.group(cls=Verbs, context_settings=CONTEXT_SETTINGS)
@click.version_option(__version__, prog_name="bundlerun")
@click.option("--context", "-c", "context", metavar="NAME", help="Act on this context, this once.")
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of libraries, and tracebacks.")
@click.pass_context
def cli(ctx: click.Context, context: str | None, verbose: bool) -> None:
    """Versioned data in, pipeline classes in containers, a new version out.

    Exit codes: 0 well; 2 usage; 3 settings; 4 not found; 5 conflict; 6 remote; 7 damaged data;
    8 engine; 9 cloud; 10 the run failed; 11 the pipe raised; 12 out of memory; 13 timed out;
    14 spot reclaimed; 15 image cannot be pulled; 16 cancelled; 17 infrastructure; 18 output
    missing; 19 stuck; 20 not deterministic; 21 submit unknown; 130 Ctrl-C; 1 anything else.
    """
    ctx.obj = {"context": context, "verbose": verbose}
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, stream=sys.stderr)


def main() -> None:
    """The console script.

    Never returns: it ends the process with the exit code.
    """
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: list[str]) -> int:
    """Run one command line; its exit code.

    Errors and warnings are one line on standard error.
    """
    python_s = warnings.formatwarning
    warnings.formatwarning = _in_one_line(python_s)
    try:
        return _run(arguments)
    finally:
        warnings.formatwarning = python_s


def _run(arguments: list[str]) -> int:
    try:
        # Outside its standalone mode click gives back what Exit was raised with.
        left = cli.main(arguments, prog_name="bundlerun", standalone_mode=False)
        return left if isinstance(left, int) else 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        _show(_of_click(error, arguments), verbose=_verbose(arguments))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BundlerunError as error:
        _show(error, verbose=_verbose(arguments))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # What the machine refuses, or a library, at a place that has no better words for it.
        shown = BundlerunError(_said_by(error), hint="bundlerun -v, before the verb, shows where")
        shown.__cause__ = error
        _show(shown, verbose=_verbose(arguments))
        return shown.exit_code


def _of_click(error: click.ClickException, arguments: list[str]) -> BundlerunError:
    """The refusal of click, in the form of all others."""
    context = getattr(error, "ctx", None)
    verb = next((f" {word}" for word in arguments if word in VERBS), "")
    hint = f"{context.command_path if context else 'bundlerun' + verb} -h"
    said = error.format_message()
    if isinstance(error, click.UsageError) and said.startswith("Usage: "):
        # A group without its verb: click's message is its whole help.
        said = "missing command"
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        said, hint = f"no such option {error.option_name}", error.possibilities[0]
    elif isinstance(error, click.MissingParameter) and context:
        from bundlerun.cli.options import usage_of

        hint = usage_of(context)
    said = said.rstrip(".")
    return UsageError(said[:1].lower() + said[1:], hint=hint)


def _said_by(error: Exception) -> str:
    """A foreign error in one line.

    Those of the machine have a whole sentence already.
    """
    lines = str(error).strip().splitlines()
    said = f"{lines[0]:.500}" if lines else ""
    if isinstance(error, OSError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _in_one_line(python_s: Callable[..., str]) -> Callable[..., str]:
    """How a warning is written: our own without the place in our code that gave it."""

    def line(message: Warning | str, category: type[Warning], *args: object, **more: object) -> str:
        if not issubclass(category, UntrackedFile):
            return python_s(message, category, *args, **more)
        from bundlerun.formatting import clean

        return f"bundlerun: warning: {clean(str(message))}\n"

    return line


def _verbose(arguments: list[str]) -> bool:
    """Whether -v stands before the verb: after it, it is the verb's own."""
    verb = next((at for at, word in enumerate(arguments) if word in VERBS), len(arguments))
    return not {"-v", "--verbose"}.isdisjoint(arguments[:verb])


def _show(error: BundlerunError, *, verbose: bool) -> None:
    from bundlerun.formatting import clean

    if verbose:
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True)
    # The evidence of a value that is not kept is the message once more.
    if isinstance(error, RunFailed) and error.evidence.rstrip() not in str(error):
        click.echo(clean(error.evidence.rstrip()), err=True)
    label = "bundlerun:"
    if not os.environ.get("NO_COLOR"):
        label = click.style(label, fg="red", bold=True)
    click.echo(f"{label} {clean(error.message)}", err=True)
    if error.hint:
        click.echo(f"  try: {clean(error.hint)}", err=True)
