"""``bundlerun run``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from bundlerun.api.handle import RunResult
from bundlerun.api.workspace import Workspace
from bundlerun.backends.job import SIZES
from bundlerun.backends.open import traits_of
from bundlerun.cli.options import (
    PipeCommand,
    as_json,
    given_options,
    misplaced,
    pipe_parameters,
    tag_option,
    with_workspace,
)
from bundlerun.cli.render import echo_json, label, short_run
from bundlerun.cli.wait import wait_or_detach
from bundlerun.errors import BadParameter, UsageError
from bundlerun.formatting import ID_SHOWN, clean, pairs
from bundlerun.registry import BACKENDS, DEFAULT_BACKEND


@click.command(cls=PipeCommand, context_settings={"allow_interspersed_args": False})
@click.option(
    "--backend",
    metavar="NAME",
    default=DEFAULT_BACKEND,
    show_default=True,
    help=f"Where the job runs: {', '.join(BACKENDS)}, or a backend of another package.",
)
@click.option("--force", is_flag=True, help="Run even if equal work was done.")
@click.option(
    "--verify",
    is_flag=True,
    help="Run every pipe twice, and name each pipe whose values differ.",
)
@click.option("--build", is_flag=True, help="Rebuild the image first if its source changed.")
@click.option(
    "--no-push-input", is_flag=True, help="Do not push the input: it is on the remote already."
)
@click.option(
    "--use-aws-session-token",
    "session_seconds",
    type=int,
    metavar="SECONDS",
    help="Give the job credentials for so long, limited to the remote's prefix.",
)
@tag_option("-it", "--input-tag", "input_tags", help="Select the input by tag; repeatable.")
@tag_option("-ot", "--output-tag", "output_tags", help="Tag the output; repeatable.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Follow the run to its end; the default is the backend's.",
)
@click.option("--vcpus", type=click.FloatRange(min=0, min_open=True), help="CPUs of the job.")
@click.option("--memory-mib", type=click.IntRange(min=1), help="Memory of the job, MiB.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs of the job.")
@click.option(
    "--timeout-s",
    type=click.IntRange(min=1),
    help="End the job after so many seconds (AWS Batch: 60 or more).",
)
@click.option("--no-timeout", is_flag=True, help="No limit, whatever the settings say.")
@click.option(
    "--retries",
    type=int,
    help="More attempts after a lost machine or a failed start, where the backend can.",
)
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@partial(given_options, backend=True)
@as_json
@click.argument("input", metavar="IN")
@click.argument("output", metavar="OUT")
@click.argument("pipe", metavar="PKG.MODULE.PIPE")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAM VALUE]...")
@with_workspace
def command(
    workspace: Workspace,
    input: str,
    output: str,
    pipe: str,
    parameters: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Run PKG.MODULE.PIPE in its container on the bundle IN and bring back OUT.

    "-" as IN: without an input. Options stand before IN; everything after the class belongs to the
    pipe.
    """
    wait, verify = options.pop("wait"), options.pop("verify")
    if verify and wait is False:
        raise UsageError("--verify needs the result of both runs", hint="leave out --no-wait")
    if wait is None:
        wait = verify or traits_of(options["backend"]).waits
    _leave_to_settings(options)
    options["push_input"] = not options.pop("no_push_input")
    # What no class could be called is an option of the backend's.
    said = options["config"]
    options["config"] = {name: text for name, text in said.items() if "." in name}
    options["job_options"] = {name: text for name, text in said.items() if "." not in name}
    params = pipe_parameters(parameters)
    dry_run = options.pop("dry_run")
    begin = _planned_only if dry_run else _submitted
    run = partial(_run, workspace, begin, (input, output, pipe), params, wait)
    result = run(options)
    if verify and result.output is not None:
        again = run({**options, "force_all": True, "build": False})
        if again.output is not None:
            workspace.verify(result.output, again.output)
    _show(result, as_json=as_json, dry_run=dry_run)
    if verify and result.output is not None and not as_json:
        click.echo("verified: a second run made the same value")


def _leave_to_settings(options: dict[str, Any]) -> None:
    """Take out what was not given: None would mean none."""
    no_timeout = options.pop("no_timeout")
    if no_timeout and options["timeout_s"] is not None:
        raise UsageError("--timeout-s and --no-timeout exclude each other", hint="leave out one")
    for name in (*SIZES, "timeout_s", "retries"):
        if options[name] is None:
            del options[name]
    if no_timeout:
        options["timeout_s"] = None


def _run(
    workspace: Workspace,
    begin: Callable[..., RunResult],
    names: tuple[str, str, str],
    params: dict[str, str],
    wait: bool,
    options: Mapping[str, Any],
) -> RunResult:
    try:
        result = begin(workspace, *names, params=params, **options)
    except BadParameter as error:
        error.hint = misplaced(params, command) or error.hint
        raise
    if result.record is not None and wait:
        if not result.followed:
            click.echo(f"run {short_run(result.record.run_id)}", err=True)
        followed = result.followed
        result = wait_or_detach(workspace, result.record.run_id, result.plan)
        result = dataclasses.replace(result, followed=followed)
    return result


def _planned_only(
    workspace: Workspace, input: str, output: str, pipe: str, **options: Any
) -> RunResult:
    plan = workspace.plan(input, output, pipe, **options)
    return RunResult(None, plan.to_json(), reused=plan.found is not None)


def _submitted(
    workspace: Workspace, input: str, output: str, pipe: str, **options: Any
) -> RunResult:
    return workspace.submit(input, output, pipe, **options).now


def _show(result: RunResult, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        echo_json(result_json(result))
    elif dry_run:
        for line in _planned(result.plan):
            click.echo(clean(line))
        if result.reused:
            click.echo("equal work was done already: nothing would run")
    elif result.output is not None:
        note = "  (equal work was found; --force runs it again)" if result.reused else ""
        note = "  (an equal run was followed)" if result.followed else note
        click.echo(f"made {label(result.output)}{note}")
    elif result.record is not None:
        run = short_run(result.record.run_id)
        click.echo(f"{'an equal run goes on:' if result.followed else 'submitted run'} {run}")
        click.echo(f"  bundlerun wait {run}     brings the output home")
        click.echo(f"  bundlerun logs -f {run}  follows it")


def _planned(plan: Mapping[str, Any]) -> list[str]:
    task = plan["task"]
    given = task["input"]
    return [
        f"pipe     {task['pipe']}  {pairs(task['params'])}".rstrip(),
        f"input    {'-' if given is None else given['name'] + '@' + given['id'][:ID_SHOWN]}",
        f"output   {task['output']}  {pairs(task['output_tags'])}".rstrip(),
        *(f"set      {name}={value}" for name, value in task["config"].items()),
        *(f"env      {name}={value}" for name, value in task["env"].items()),
        f"image    {plan['image'] or 'none; on ' + plan['environment']}",
        f"backend  {plan['backend']}",
    ]


def result_json(result: RunResult) -> dict[str, Any]:
    """A run's result as plain JSON values."""
    return {
        **{field.name: None for field in dataclasses.fields(result)},
        "record": result.record and result.record.to_json(),
        "plan": dict(result.plan),
        "output": result.output and result.output.to_json(),
        "reused": result.reused,
        "followed": result.followed,
    }
