"""What stands in a key of the files beside a module, and what is said of those that do not."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.api.workspace import Workspace
from bundlerun.bundles.digest import digest_of
from bundlerun.errors import BadModule, UntrackedFile
from bundlerun.images.selection import MAX_DATA_BYTES
from bundlerun.pipelines.apply import apply
from bundlerun.pipelines.loader import load_pipe
from bundlerun.pipelines.session import SessionOptions
from bundlerun.pipelines.source import source_of
from bundlerun.pipelines.targets import Targets
from bundlerun.store.store import Store
from tests.conftest import Disk

_NUMBERS = itertools.count()

WORDS = """
from pathlib import Path

import luigi

import bundlerun as br

class Words(br.Pipe):
    file = luigi.Parameter(default="words.txt")

    def pipe_run(self, pipeline_input):
        return (Path(__file__).parent / self.file).read_text()
"""


class Project:
    """A pipe root with one package of a name that no other test uses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = f"words_{os.getpid()}_{next(_NUMBERS)}"
        self.write("__init__.py", "")
        self.write("pipes.py", WORDS)
        self.write("words.txt", "old")

    @property
    def pipe(self) -> str:
        """The pipe's name."""
        return f"{self.package}.pipes.Words"

    def write(self, name: str, text: str) -> Path:
        """A file of the package."""
        path = self.root / self.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on the import path."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    return Project(root)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    workspace = br.open(store=tmp_path / "store", context="work")
    yield workspace
    workspace.close()


def made(shop: Workspace, project: Project, pipe: str | None = None, **options: object) -> object:
    """The value of the pipe's output now."""
    return shop.get(
        shop.apply(None, "out", pipe or project.pipe, pipe_root=project.root, **options)
    )


def test_an_edited_data_file_makes_a_new_result_and_why_names_it(
    shop: Workspace, project: Project
) -> None:
    """The file that lies beside the module stands in the key, as the module itself."""
    assert made(shop, project) == "old"
    project.write("words.txt", "new")
    assert made(shop, project) == "new"
    (reason,) = shop.why("out").reasons
    assert reason.part == "source"
    assert [change.what for change in reason.changes] == [f"{project.package}/words.txt"]
    project.write("words.txt", "old")
    assert made(shop, project) == "old"
    assert len(shop.ls("out")) == 3


def test_why_names_the_folder_where_the_files_are_too_many_for_a_record(
    shop: Workspace, project: Project
) -> None:
    """A record has room for some hundred files."""
    for number in range(300):
        project.write(f"queries/{number:03}.sql", "select 1")
    made(shop, project)
    project.write("queries/007.sql", "select 7")
    made(shop, project)
    (reason,) = shop.why("out").reasons
    assert [change.what for change in reason.changes] == [f"{project.package}/queries/"]


@pytest.mark.parametrize("name", ["sub/query.sql", "conf.yaml", "model.joblib", "native.so"])
def test_any_file_of_the_package_counts_wherever_it_lies(project: Project, name: str) -> None:
    """Whatever an image takes along of the package can make a difference."""
    before = source_of(project.root, f"{project.package}.pipes").digest
    project.write(name, "1")
    added = source_of(project.root, f"{project.package}.pipes").digest
    project.write(name, "2")
    assert len({before, added, source_of(project.root, f"{project.package}.pipes").digest}) == 3


@pytest.mark.parametrize("name", ["unused.py", ".git/HEAD", "__pycache__/x.pyc", ".env", "log.tmp"])
def test_what_is_unused_code_litter_or_ignored_does_not_count(project: Project, name: str) -> None:
    """As an image leaves it out, so does the key."""
    (project.root / ".dockerignore").write_text("**/*.tmp\n")
    before = source_of(project.root, f"{project.package}.pipes").digest
    project.write(name, "x = 1")
    assert source_of(project.root, f"{project.package}.pipes").digest == before


def test_a_file_too_large_for_the_image_counts(shop: Workspace, project: Project) -> None:
    """It stays behind for its size; the result is made of it all the same."""
    path = project.write("words.txt", "x" * (MAX_DATA_BYTES + 1))
    assert made(shop, project) == path.read_text()
    path.write_text("y" * (MAX_DATA_BYTES + 1))
    assert made(shop, project) == path.read_text()
    found = source_of(project.root, f"{project.package}.pipes")
    assert list(found.left_out) == [f"{project.package}/words.txt"]


def test_inside_an_image_the_digest_is_the_project_s(project: Project, tmp_path: Path) -> None:
    """The image has what it took along, and the digests of what it left out."""
    project.write("large.bin", "x" * (MAX_DATA_BYTES + 1))
    module = f"{project.package}.pipes"
    outside = source_of(project.root, module)
    copy = tmp_path / "image"
    for path, source in {**outside.data, f"{project.package}/pipes.py": None}.items():
        if path not in outside.left_out:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes((source or project.root / path).read_bytes())
    (copy / project.package / "__init__.py").write_text("")
    inside = source_of(copy, module, left_out={**outside.left_out, "other/x.bin": "0" * 64})
    assert inside.digest == outside.digest


def test_what_an_image_left_out_counts_in_an_inner_apply_too(
    tmp_path: Path, project: Project
) -> None:
    """The inner pipe's key names the same files as it would outside of the image."""
    project.write(
        "inner.py",
        f"""
        import bundlerun as br
        from {project.package}.pipes import Words

        class Outer(br.Pipe):
            def pipe_run(self, pipeline_input):
                return sorted(br.apply(None, "inner", Words).lineage.code.files)
        """,
    )
    store = Store.open(tmp_path / "job")
    context = store.contexts.create("job")
    large = f"{project.package}/large.bin"
    result = apply(
        load_pipe(f"{project.package}.inner.Outer", project.root),
        host=Targets(store, context),
        input=None,
        output="out",
        options=SessionOptions(left_out={large: digest_of(b"large")}),
    )
    assert large in store.value(result.entry.bundle)  # type: ignore[operator]
    store.close()


COUNTED = """
import sys, time
import bundlerun as br

opened = []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
shop = br.open(store=sys.argv[1], context="work")
for _ in range(2):
    shop.apply(None, "out", sys.argv[3], pipe_root=sys.argv[2], force=True)
    print(sum(path.endswith("large.bin") for path in opened))
    opened.clear()
"""


@pytest.mark.slow
def test_an_unchanged_file_is_not_read_again(tmp_path: Path, disk: Disk) -> None:
    """The store's stat cache knows what it held, also in another process."""
    project = Project(disk.path)
    environment = {**os.environ, "BUNDLERUN_TRUST_TIMES": disk.settings.trust_times}
    project.write("large.bin", "x" * 100_000)
    time.sleep(2.5)  # younger files the index does not believe
    command = [sys.executable, "-c", COUNTED, str(tmp_path / "store"), str(project.root)]
    counts = [
        subprocess.run(
            [*command, project.pipe], capture_output=True, text=True, check=True, env=environment
        ).stdout
        for _ in range(2)
    ]
    assert counts == ["1\n0\n", "0\n0\n"]


def test_a_module_without_a_package_brings_the_files_that_it_names(
    shop: Workspace, project: Project
) -> None:
    """Its neighbours at the root count where its text has their names, and no others."""
    name = f"alone_{os.getpid()}_{next(_NUMBERS)}"
    (project.root / f"{name}.py").write_text(WORDS)
    (project.root / "words.txt").write_text("old")
    assert made(shop, project, f"{name}.Words") == "old"
    (project.root / "words.txt").write_text("new")
    (project.root / "notes.txt").write_text("nobody reads this")
    assert made(shop, project, f"{name}.Words") == "new"
    assert list(source_of(project.root, name).data) == ["words.txt"]


def test_a_project_file_that_stands_in_no_key_is_named_once(
    shop: Workspace, project: Project
) -> None:
    """It lies outside of the package, so an edit of it would not be seen."""
    (project.root / "outside.txt").write_text("far")
    with pytest.warns(UntrackedFile, match=r"Words read outside\.txt, .* no key") as told:
        assert made(shop, project, params={"file": "../outside.txt"}) == "far"
    assert len(told) == 1


def test_a_module_that_no_import_statement_names_is_named_with_that_cure(
    shop: Workspace, project: Project
) -> None:
    """It lies in the package already; a pipe that loads it by a text runs code of no key."""
    project.write("plugin.py", "VALUE = 1\n")
    with pytest.warns(UntrackedFile, match=r"plugin\.py, .* no key.*import statement") as told:
        made(shop, project, params={"file": "plugin.py"})
    assert "Put it into the package" not in str(told[0].message)


def test_what_stands_in_the_key_or_is_the_pipe_s_own_is_not_named(
    shop: Workspace, project: Project, recwarn: pytest.WarningsRecorder
) -> None:
    """The package's files, inputs, scratch, and what the pipe itself has just written."""
    project.write(
        "more.py",
        """
        from pathlib import Path

        import bundlerun as br

        class More(br.Pipe):
            def pipe_run(self, pipeline_input):
                own = Path(__file__).parent.parent / "own.txt"
                own.write_text("own")
                (self.scratch / "x").write_text("x")
                beside = Path(__file__).parent / "words.txt"
                texts = [own, self.scratch / "x", beside, pipeline_input.path]
                return [text.read_text() for text in texts]
        """,
    )
    shop.add("given", br.File(project.write("words.txt", "w")))
    pipe = f"{project.package}.more.More"
    out = shop.apply("given", "out", pipe, pipe_root=project.root)
    assert shop.get(out) == ["own", "x", "w", "w"]
    assert [each for each in recwarn if issubclass(each.category, UntrackedFile)] == []


@pytest.mark.heavy
def test_several_workers_name_a_file_once(tmp_path: Path, project: Project) -> None:
    """Each pipe runs in a process of its own; on a terminal it is one line."""
    (project.root / "outside.txt").write_text("far")
    project.write(
        "many.py",
        """
        from pathlib import Path

        import luigi

        import bundlerun as br

        class One(br.Pipe):
            number = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                return (Path(__file__).parent.parent / "outside.txt").read_text()

        class All(br.Pipe):
            def requires(self):
                return {f"n{number}": One(number=number) for number in range(4)}
            def pipe_run(self, pipeline_input, **found):
                return sorted(found.values())
        """,
    )
    command = [sys.executable, "-c", "from bundlerun.cli.main import main; main()", "apply"]
    command += ["--workers", "2", "--pipe-root", str(project.root), "-", "out"]
    done = subprocess.run(
        [*command, f"{project.package}.many.All"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "outside.txt" in line]
    assert line.startswith("bundlerun: warning: ")


def test_a_file_that_is_edited_while_the_pipe_runs_is_refused(
    shop: Workspace, project: Project
) -> None:
    """The value would stand under the key of a file that it was not made of."""
    project.write(
        "hasty.py",
        """
        from pathlib import Path

        import bundlerun as br

        class Hasty(br.Pipe):
            def pipe_run(self, pipeline_input):
                path = Path(__file__).parent / "words.txt"
                text = path.read_text()
                path.write_text(text + "!")
                return text
        """,
    )
    with pytest.raises(BadModule, match=r"words\.txt was edited while .*Hasty ran.*again"):
        made(shop, project, f"{project.package}.hasty.Hasty")
    assert shop.ls("out") == []


def test_a_file_that_cannot_be_read_is_refused_with_the_cure(project: Project) -> None:
    """Here, one that somebody removes just before it is read."""

    def vanished(files: object) -> list[object]:
        raise FileNotFoundError(2, "No such file or directory", "words.txt")

    with pytest.raises(BadModule, match=r"words\.txt cannot be read.*\.dockerignore"):
        source_of(project.root, f"{project.package}.pipes", digests=vanished)  # type: ignore[arg-type]
