"""The plan of an image without any function's code: what it is made of, and its name."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from bundlerun.errors import SettingsError, UsageError
from bundlerun.images.context import write_context
from bundlerun.images.dockerfile import dockerfile
from bundlerun.images.image import ENVIRONMENTS, image_name
from bundlerun.images.recipe import EnvironmentOptions, Recipe, Script, plan_environment
from bundlerun.images.requirements import Requirements, given_requirements
from bundlerun.settings import ImageSettings
from tests.images.projects import recipe_of, shop, write

RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = "3.10" if sys.version_info >= (3, 11) else "3.11"


def planned(lines: list[str] | None = None, **options: object) -> Recipe:
    """The recipe of an environment with these requirements."""
    found = given_requirements(lines or [], {})
    return plan_environment(found, None, EnvironmentOptions(**options))  # type: ignore[arg-type]


def test_it_holds_what_functions_run_on_and_no_module(tmp_path: Path) -> None:
    """Base, requirements, bundlerun and the cloudpickle that pickles here, exactly."""
    recipe = planned(["six"])
    assert recipe.name == "bundlerun-env"
    assert recipe.tag == recipe.content[:16]
    assert recipe.ingredients.base == f"python:{RUNNING}-slim"
    folder = tmp_path / "context"
    write_context(recipe, folder)
    assert {path.relative_to(folder).parts[0] for path in folder.rglob("*")} == {
        "Dockerfile",
        "requirements",
        "wheel",
    }
    ours = (folder / "requirements/bundlerun.txt").read_text().splitlines()
    assert f"cloudpickle=={metadata.version('cloudpickle')}" in ours
    assert (folder / "requirements/pipeline.txt").read_text() == "six\n"
    assert "describe" not in (folder / "Dockerfile").read_text()


def test_its_name_follows_what_goes_in_alone() -> None:
    """Equal requirements are one image; another package, base or platform is another."""
    one = planned(["six", "toolz"])
    assert planned(["six", "toolz"]).content == one.content
    others = [
        planned(["six"]),
        planned(["six", "toolz"], system_packages=("git",)),
        planned(["six", "toolz"], base_image="lab:1"),
        planned(["six", "toolz"], platform="linux/s390x"),
    ]
    assert len({each.tag for each in (one, *others)}) == 5
    assert len({each.environment for each in (one, *others)}) == 5


def test_a_prefix_a_registry_and_a_name_of_one_s_own_are_kept() -> None:
    """As images of pipes have them."""
    settings = ImageSettings("team", "r.example:5000")
    named = plan_environment(Requirements(), settings, EnvironmentOptions(name="lab/fit"))
    assert named.name == "r.example:5000/team/lab/fit"
    assert plan_environment(Requirements(), settings).name == "r.example:5000/team/bundlerun-env"
    with pytest.raises(SettingsError, match="prefix"):
        plan_environment(Requirements(), ImageSettings("A b"))


def test_a_module_called_env_has_a_name_of_its_own() -> None:
    """Its images are not those of environments."""
    assert image_name("env") != ENVIRONMENTS
    assert image_name("env").startswith("bundlerun-env-")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "Lab"},
        {"name": "lab:1"},
        {"name": "a b"},
        {"name": ""},
        {"system_packages": ("a; rm -rf /",)},
        {"base_image": "x\nRUN evil"},
        {"base_image": f"python:{OTHER}-slim"},
        {"platform": "amd64"},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, object]) -> None:
    """Before anything is built; a base of another Python as well."""
    with pytest.raises(UsageError):
        planned(**options)


def test_a_base_whose_name_tells_no_python_is_looked_at_in_the_build() -> None:
    """A function of one Python is not run by another one."""
    text = dockerfile(planned(base_image="lab:1").ingredients)
    assert f'sys.exit(found != "{RUNNING}"' in text
    assert text.index("sys.exit") < text.index("pip install")


def test_requirements_that_contradict_the_cloudpickle_are_refused() -> None:
    """A function is read by the version that pickled it."""
    version = metadata.version("cloudpickle")
    assert planned([f"cloudpickle=={version}", "cloudpickle>=1", "--pre"])
    with pytest.raises(UsageError, match=f"cloudpickle=={version}"):
        planned(["CloudPickle<2"])


def test_git_is_there_in_the_build_alone(tmp_path: Path) -> None:
    """Where a requirement needs it, of a function's environment and of pipes."""
    line = "x @ git+https://h.example/x@abc"
    with_git = dockerfile(planned([line]).ingredients)
    assert "ca-certificates git" in with_git
    assert with_git.index("ca-certificates git") < with_git.index("pip install")
    assert with_git.index("pip install") < with_git.index("apt-get purge")
    step = next(part for part in with_git.split("\nRUN ") if "ca-certificates git" in part)
    assert "apt-get purge" in step, "one layer has both"
    pipes = recipe_of(shop(tmp_path, {"requirements.txt": f"{line}\ntoolz\n"}))
    assert "ca-certificates git" in dockerfile(pipes.ingredients)
    assert "git" not in dockerfile(planned(["gitlike", "a>=1"]).ingredients)


def test_a_script_goes_in_with_the_modules_that_it_imports(tmp_path: Path) -> None:
    """And with nothing else that stands next to it."""
    root = write(
        tmp_path,
        {"fit.py": "import lab.model\n", "lab/__init__.py": "", "lab/model.py": "", "x.csv": "1"},
    )
    script = Script(root / "fit.py", [root / "lab/model.py", root / "lab/__init__.py"])
    recipe = planned(script=script)
    code = {file.path for file in recipe.files if file.path.startswith("code/")}
    assert code == {"code/fit.py", "code/lab/__init__.py", "code/lab/model.py"}
    assert [file.path for file in recipe.files if file.executable] == ["code/fit.py"]
    assert "ENV BUNDLERUN_SCRIPT=/bundlerun/code/fit.py\n" in dockerfile(recipe.ingredients)
    assert recipe.environment == planned().environment
    assert recipe.content != planned().content


@pytest.mark.parametrize(
    ("name", "text"), [("run.sh", "echo hi\n"), ("a b.py", ""), ("gone.py", None), ("-x.py", "")]
)
def test_a_script_that_no_container_can_run_is_refused(
    tmp_path: Path, name: str, text: str | None
) -> None:
    """Neither Python nor a first line that names an interpreter; not there; a strange name."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError):
        planned(script=Script(tmp_path / name))
