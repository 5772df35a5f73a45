"""What an import needs installed, told by the metadata of what is installed here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundlerun.errors import UsageError
from bundlerun.images.installed import ORIGIN, installed_requirements


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, first on the path."""
    folder = tmp_path / "lib/site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(
    site: Path,
    name: str,
    version: str = "1.0",
    *,
    tops: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    url: dict[str, object] | None = None,
    installer: str = "pip",
) -> None:
    """The metadata of an installed distribution, as an installer leaves them."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "INSTALLER").write_text(f"{installer}\n")
    if tops:
        (folder / "top_level.txt").write_text("\n".join(tops))
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    if url is not None:
        (folder / "direct_url.json").write_text(json.dumps(url))


def lines(*imports: str) -> tuple[str, ...]:
    """The requirements of these imports."""
    return installed_requirements(imports).requirements.lines


def test_a_name_is_that_of_the_distribution_which_has_it(site: Path) -> None:
    """However different: by top_level.txt, or by the files of a wheel that has none."""
    install(site, "Scikit.Learn-Too", "1.5.2", tops=("sklearn2",))
    install(site, "imgthing", "11.0", files=("PIM/__init__.py", "../../bin/pim"))
    install(site, "onefile", "2.0", files=("one_file.py", "onefile-2.0.dist-info/RECORD"))
    assert lines("sklearn2", "PIM", "one_file") == (
        "Scikit.Learn-Too==1.5.2",
        "imgthing==11.0",
        "onefile==2.0",
    )


def test_what_is_really_installed_here_is_found() -> None:
    """At its exact version, and said to be from here."""
    from importlib.metadata import version

    found = installed_requirements({"dateutil", "packaging"}).requirements
    assert f"packaging=={version('packaging')}" in found.lines
    assert f"python-dateutil=={version('python-dateutil')}" in found.lines
    assert found.origin == ORIGIN


def test_nothing_is_asked_for_what_every_image_has() -> None:
    """The standard library, bundlerun and cloudpickle."""
    assert lines("os", "json", "bundlerun", "cloudpickle") == ()


def test_a_name_that_several_share_brings_all_of_them(site: Path) -> None:
    """A namespace does not say which part is meant."""
    install(site, "cloud-a", files=("cloudns/a/__init__.py",))
    install(site, "cloud-b", files=("cloudns/b/__init__.py",))
    assert lines("cloudns") == ("cloud-a==1.0", "cloud-b==1.0")


def test_what_is_installed_nowhere_is_named(site: Path) -> None:
    """It may be imported under a condition: it is no error, and no silence."""
    found = installed_requirements({"not_there_at_all"})
    assert (found.requirements.lines, found.missing) == ((), ("not_there_at_all",))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ({"url": "file:///opt/lab", "dir_info": {"editable": True}}, "as editable from /opt/lab"),
        ({"url": "file:///opt/lab", "dir_info": {}}, "from /opt/lab"),
        ({"url": "file:///opt/a%20b.whl", "archive_info": {}}, "from /opt/a b.whl"),
    ],
)
def test_a_path_of_this_machine_is_refused_with_the_cure(
    site: Path, url: dict[str, object], words: str
) -> None:
    """Editable, a folder or a file: an image cannot have it."""
    install(site, "lab-tools", "3.1", tops=("labtools",), url=url)
    with pytest.raises(UsageError, match=words) as caught:
        lines("labtools")
    assert "pip install lab-tools==3.1" in str(caught.value)


def test_metadata_in_the_project_itself_are_those_of_an_editable_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``setup.py develop`` leaves nothing else."""
    folder = tmp_path / "elsewhere/oldlab.egg-info"
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: oldlab\nVersion: 1.0\n")
    (folder / "top_level.txt").write_text("oldlab\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    with pytest.raises(UsageError, match="oldlab is installed as editable"):
        lines("oldlab")


def test_an_address_is_kept_at_its_commit(site: Path) -> None:
    """A repository, or an archive that the image can reach as well."""
    git = {"vcs": "git", "commit_id": "c" * 40, "requested_revision": "main"}
    install(site, "fromgit", tops=("fromgit",), url={"url": "https://h.example/x", "vcs_info": git})
    archive = {"url": "https://h.example/a-1.tar.gz", "archive_info": {}, "subdirectory": "py"}
    install(site, "fromurl", tops=("fromurl",), url=archive)
    assert lines("fromgit", "fromurl") == (
        f"fromgit @ git+https://h.example/x@{'c' * 40}",
        "fromurl @ https://h.example/a-1.tar.gz#subdirectory=py",
    )
    secret = {"url": "https://me:hunter2@h.example/x", "vcs_info": git}
    install(site, "secret", tops=("secretly",), url=secret)
    with pytest.raises(UsageError, match="credentials") as caught:
        lines("secretly")
    assert "hunter2" not in str(caught.value)


def test_a_package_of_conda_s_is_taken_by_its_version(site: Path) -> None:
    """The path in its metadata is that of the machine which built it."""
    built = {"url": "file:///home/conda/feedstock_root/build_artifacts/x/work", "dir_info": {}}
    install(site, "condapkg", "2.5", tops=("condapkg",), url=built, installer="conda")
    assert lines("condapkg") == ("condapkg==2.5",)


def test_a_local_version_is_the_published_one_in_an_image(site: Path) -> None:
    """No index has the local one; it is told."""
    install(site, "gputorch", "2.1.0+cu118", tops=("gputorch",))
    found = installed_requirements({"gputorch"})
    assert found.requirements.lines == ("gputorch==2.1.0",)
    assert found.public == ("gputorch 2.1.0+cu118",)
