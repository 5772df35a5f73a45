"""``bundlerun aws``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.aws_options import options_of, provision_options
from bundlerun.cli.main import INTERRUPTED
from bundlerun.cli.options import as_json, tag_option, with_workspace
from bundlerun.cli.render import echo_json, echo_table
from bundlerun.errors import UsageError
from bundlerun.formatting import clean, counted

if TYPE_CHECKING:
    from bundlerun.api.resources import Down, Up
    from bundlerun.api.settings_file import Change
    from bundlerun.store.contexts import Context


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make, look at and delete the resources on AWS that jobs run on.

    A Knot is a queue with its machines and a repository; a Pars is the network, the roles and the
    bucket that Knots share. Each is a CloudFormation stack. Machines run, and cost, while jobs do.
    """


@command.command(short_help="Make or find the Knot NAME; print what leads there.")
@click.argument("name")
@click.option("--pars", metavar="NAME", help="The Pars of the Knot, made where it is missing.")
@click.option("--save", is_flag=True, help="Write the settings into config.toml.")
@tag_option("-t", "--tag", "tags", help="A tag of all that is made; repeatable.")
@provision_options
@as_json
@with_workspace
def up(
    workspace: Workspace,
    name: str,
    pars: str | None,
    save: bool,
    tags: dict[str, str],
    as_json: bool,
    **given: Any,
) -> None:
    """Make the Knot NAME, or find it, and print the settings that lead jobs there.

    Without --pars it is in the Pars "default". To have this shell use it: eval "$(bundlerun aws up
    NAME)"; to have every shell use it: bundlerun aws up NAME --save.
    """
    from bundlerun.api import resources, settings_file

    of_pars, of_knot = options_of(name, pars, tags, given)
    # What is wrong with the store is told before anything is made.
    context = workspace.scope.context()
    with _interruptible(f"bundlerun aws up {name} follows it", name):
        made = resources.up(workspace.scope, of_pars, of_knot)
    file = workspace.scope.settings.file
    changes = settings_file.save(file, made.settings) if save else ()
    if as_json:
        echo_json({**made.to_json(), "saved": [asdict(each) for each in changes]})
        return
    if save:
        _show_saved(workspace, made, changes)
    else:
        _show_exports(made, name)
    _show_remote(workspace, made, context)


@command.command(short_help="Delete the Knot NAME; list what remains.")
@click.argument("name", required=False)
@click.option("--pars", metavar="NAME", help="Delete this Pars, too; without a Knot, it alone.")
@click.option("--repository", is_flag=True, help="Delete its repository with the images, too.")
@click.option("--bucket", is_flag=True, help="With --pars: delete the bucket with its data, too.")
@click.option("--yes", is_flag=True, help="With --bucket: delete, instead of only showing.")
@as_json
@with_workspace
def down(
    workspace: Workspace,
    name: str | None,
    pars: str | None,
    repository: bool,
    bucket: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End the jobs of the Knot NAME, delete it, and list what remains and why.

    Twice is as good as once. What was there before bundlerun stays. The data in the bucket cannot
    be brought back: --bucket needs --yes, too, and without it only shows what would be deleted.
    """
    from bundlerun.api import resources

    if name is None and pars is None:
        raise UsageError("a Knot or a Pars must be named", hint="bundlerun aws status")
    if bucket and pars is None:
        raise UsageError(
            "--bucket is that of a Pars, which must be named",
            hint=f"bundlerun aws down {name} --pars NAME --bucket",
        )
    if repository and name is None:
        raise UsageError(
            "--repository is that of a Knot, which must be named",
            hint=f"bundlerun aws down NAME --pars {pars} --repository",
        )
    scope = workspace.scope
    done = resources.plan_down(scope, name, pars=pars, repository=repository, bucket=bucket)
    only_shown = done.bucket is not None and not yes
    if not only_shown:
        again = f"{_again(name, pars, repository, bucket)} goes on with it"
        with _interruptible(again, name or pars or ""):
            done = resources.down(scope, done)
    if as_json:
        echo_json({**asdict(done), "deleted": not only_shown})
        return
    _show_down(done, only_shown=only_shown)
    if only_shown:
        click.echo(f"  {_again(name, pars, repository, bucket)}  does it")
    elif done.pars is None:
        _show_unused(resources.unused_pars(scope))


@command.command(short_help="Say what stands, and why jobs wait.")
@click.argument("name", required=False)
@as_json
@with_workspace
def status(workspace: Workspace, name: str | None, as_json: bool) -> None:
    """Say what stands of the Knot or the Pars NAME, or of all, and why jobs wait.

    Stacks, queues, machines and jobs, and max_vcpus next to the account's quota of vCPUs. What
    could not be asked for is told as unknown.
    """
    from bundlerun.api import resources

    found = resources.status(workspace.scope, name)
    if as_json:
        echo_json(_plain(asdict(found)))
        return
    for line in found.lines():
        click.echo(clean(line))
    if not found.pars and not found.knots:
        click.echo("no Pars and no Knot is here; bundlerun aws up NAME makes them", err=True)


@command.command(short_help="Find what belongs to no Pars and no Knot.")
@click.option(
    "--delete",
    "--yes",
    "delete",
    is_flag=True,
    help="Delete; without it, only show what would be deleted.",
)
@click.option("--data", is_flag=True, help="Buckets and repositories that are not empty, too.")
@as_json
@with_workspace
def gc(workspace: Workspace, delete: bool, data: bool, as_json: bool) -> None:
    """Find what has bundlerun's tags and belongs to no Pars and no Knot.

    That is what an interrupted deletion left, what it could not delete, and what was kept: buckets
    and repositories that are not empty stay, unless --data is given. Their contents cannot be
    brought back.
    """
    from bundlerun.api import resources

    found = resources.orphans(workspace.scope)
    left = resources.remove(workspace.scope, found.found, data=data) if delete else ()
    if as_json:
        echo_json({**asdict(found), "deleted": delete, "left": [asdict(each) for each in left]})
        return
    rows = [[each.what, each.id, each.owner] for each in found.found]
    if rows:
        echo_table(["TYPE", "ID", "MADE FOR"], rows)
    for reason in found.unknown:
        click.echo(clean(f"unknown: {reason}"), err=True)
    for each in left:
        click.echo(clean(f"remains: {each}"))
    if not rows:
        click.echo("nothing to delete")
    elif delete:
        click.echo(f"deleted {len(rows) - len(left)} of {counted(len(rows), 'thing')}")
    else:
        click.echo(f"  bundlerun aws gc{' --data' * data} --delete  does it")


@command.group()
def policy() -> None:
    """Print an IAM policy, the least that is needed."""


@policy.command("run", short_help="That of who submits jobs.")
@click.argument("name", required=False)
@with_workspace
def policy_run(workspace: Workspace, name: str | None) -> None:
    """Print the policy of who submits jobs: to the Knot NAME, or to any queue."""
    from bundlerun.api import resources

    echo_json(resources.run_policy(workspace.scope, name))


@policy.command("provision", short_help="That of who makes and deletes.")
@click.argument("name", required=False)
@click.option("--pars", metavar="NAME", help="The Pars of the Knot.")
@provision_options
@with_workspace
def policy_provision(
    workspace: Workspace, name: str | None, pars: str | None, **given: Any
) -> None:
    """Print the policy of who makes and deletes the Knot NAME and its Pars, or any.

    With the options of `up` it is that of what `up` makes with them.
    """
    from bundlerun.api import resources

    if name is None and (
        pars is not None or any(each not in (None, ()) for each in given.values())
    ):
        raise UsageError(
            "options are those of one Knot, which is not named",
            hint="bundlerun aws policy provision NAME",
        )
    options = () if name is None else options_of(name, pars, {}, given)
    echo_json(resources.provision_policy(workspace.scope, *options))


def _plain(value: Any) -> Any:
    """``value`` with sets as sorted lists, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return sorted(value) if isinstance(value, frozenset) else value


def _again(name: str | None, pars: str | None, repository: bool, bucket: bool) -> str:
    """The command line of ``down`` once more, with what it takes to be carried out."""
    flags = {name: name, f"--pars {pars}": pars, "--repository": repository}
    flags["--bucket --yes"] = bucket
    return " ".join(["bundlerun aws down", *(str(flag) for flag, given in flags.items() if given)])


@contextmanager
def _interruptible(comes_back: str, name: str) -> Iterator[None]:
    """At Ctrl-C say that CloudFormation goes on by itself, and how to look."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"what began goes on at AWS: bundlerun aws status {name} shows it, {comes_back},"
            f" bundlerun aws down {name} undoes it",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from None


def _show_exports(made: Up, name: str) -> None:
    for variable, value in made.variables.items():
        click.echo(f"export {variable}={shlex.quote(value)}")
    # On standard error: standard output is for the shell.
    if made.without_variable:
        rows = ", ".join(f"{key} = {value}" for key, value in made.without_variable.items())
        click.echo(f"# no variable says these, --save writes them: {rows}", err=True)
    if sys.stdout.isatty():
        click.echo(f'# to have this shell use it: eval "$(bundlerun aws up {name})"', err=True)


def _show_saved(workspace: Workspace, made: Up, changes: Sequence[Change]) -> None:
    from bundlerun.api.settings_file import in_toml

    settings = workspace.scope.settings
    for change in changes:
        before = "" if change.before is None else f"  (was {in_toml(change.before)})"
        click.echo(f"[{change.section}] {change.key} = {in_toml(change.value)}{before}")
    click.echo(f"{'saved in' if changes else 'nothing to change in'} {settings.file}")
    over = made.over(settings)
    for variable, value in over.items():
        click.echo(f"{variable}={value} of this shell wins over the file", err=True)
    if over:
        click.echo(f"  try: unset {' '.join(over)}", err=True)


def _show_remote(workspace: Workspace, made: Up, context: Context) -> None:
    """How the context gets the remote that the jobs' role may use, unless it has it."""
    remote, bound = made.knot.outputs.remote, context.remote_url
    # Credentials that jobs are given in place of their role are the caller's.
    alone = made.knot.outputs.remote_only and not workspace.scope.settings.aws.session_seconds
    if bound is None:
        command = f"bundlerun remote {shlex.quote(context.name)} {remote}"
        click.echo(
            f"# the context {context.name} gets its remote at the first use of one, or now:"
            f" {command}",
            err=True,
        )
    elif alone and not f"{bound}/".startswith(f"{remote}/"):
        click.echo(
            f"# the context {context.name} is bound to {bound}, where the jobs' role cannot read;"
            f" another one: bundlerun remote CONTEXT {remote}",
            err=True,
        )


def _show_down(done: Down, *, only_shown: bool) -> None:
    verb = "would delete" if only_shown else "deleted"
    for kind, asked, stands in (
        ("Knot", done.name, done.knot),
        ("Pars", done.of_pars, done.pars),
    ):
        if stands is not None:
            click.echo(f"{verb} the {kind} {stands}")
        elif asked is not None:
            click.echo(f"there is no {kind} {asked}", err=True)
    if done.repository is not None:
        click.echo(f"{verb} the repository {done.repository} with its images")
    if done.bucket is not None:
        click.echo(f"{verb} the bucket {done.bucket} with all its data, for everybody")
    for each in done.left:
        click.echo(clean(f"remains: {each}"))
    if done.leads_here and not only_shown:
        click.echo(
            "the settings still lead jobs to its queue; bundlerun aws up NAME --save, or the"
            " variables, lead them elsewhere",
            err=True,
        )


def _show_unused(names: Sequence[str]) -> None:
    for each in names:
        click.echo(f"no Knot uses the Pars {each}: bundlerun aws down --pars {each}", err=True)
