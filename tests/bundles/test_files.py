"""Files and directories come back with their names, bytes and the one bit of mode that is kept."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.paths import PathTree
from bundlerun.bundles.value import check_relative_path, decode_value, encode_value, links, outline
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BadPath, IntegrityError
from tests.bundles.memory import Memory, nested

CALLS_A_FILE = 80
"""53 on Python 3.11."""

CALLS_A_VALUE = 170
"""113 on Python 3.11."""

Back = Callable[[Any], Any]

NAMES = ["a.tar.gz", ".hidden", "..twodots", "50%25.csv", "it's \"quoted\".txt", "with space", "é☃",
         "-rf", "~", "a:b", "CON", "x" * 255, "trailing ", "*?[]"]  # fmt: skip


def _write(path: Path, data: bytes = b"x", *, executable: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755 if executable else 0o644)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_comes_back(name: str, tmp_path: Path, back: Back) -> None:
    """With dots, quotes, percent signs, spaces: a name is a name."""
    given = File(_write(tmp_path / "in" / name, b"data"))
    found = back({"f": given})["f"]
    assert found == given
    assert found.name == found.path.name == name
    assert found.read_bytes() == b"data"
    assert not os.access(found.path, os.X_OK)


def test_two_files_with_one_basename_come_back(tmp_path: Path, back: Back) -> None:
    """Each with its own bytes; and one that is equal to another is stored once."""
    one = File(_write(tmp_path / "1" / "data.csv", b"one"))
    two = File(_write(tmp_path / "2" / "data.csv", b"two"))
    three = File(_write(tmp_path / "3" / "other.csv", b"one"))
    found = back([one, two, three])
    assert [each.read_text() for each in found] == ["one", "two", "one"]
    assert [each.name for each in found] == ["data.csv", "data.csv", "other.csv"]
    assert found == [one, two, three]


def test_a_program_stays_one(tmp_path: Path, back: Back) -> None:
    """The executable bit is kept, and tells two values apart."""
    _write(tmp_path / "d" / "run.sh", executable=True)
    _write(tmp_path / "d" / "data", b"x")
    found = back([File(tmp_path / "d" / "run.sh"), Directory(tmp_path / "d")])
    assert os.access(found[0].path, os.X_OK)
    assert os.access(found[1].path / "run.sh", os.X_OK)
    assert (found[1].path / "data").stat().st_mode & 0o111 == 0


def test_a_directory_comes_back_with_nested_and_empty_folders(tmp_path: Path, back: Back) -> None:
    """Every file by its relative path, folders without files too."""
    root = tmp_path / "tree.d"
    for name in ("a", "b/c/d.txt", "b/c.txt", "b!/x", *(f"n/{name}" for name in NAMES)):
        _write(root / name, name.encode())
    (root / "empty" / "inner").mkdir(parents=True)
    found = back((Directory(root),))[0]
    assert found == Directory(root)
    assert found.name == "tree.d"
    assert (found.path / "b/c/d.txt").read_bytes() == b"b/c/d.txt"
    assert (found.path / "empty/inner").is_dir()


def test_an_empty_directory_comes_back(tmp_path: Path, back: Back) -> None:
    """As itself."""
    (tmp_path / "none").mkdir()
    found = back(Directory(tmp_path / "none"))
    assert found == Directory(tmp_path / "none")
    assert found.files() == []


def test_the_working_directory_has_a_name(
    tmp_path: Path, back: Back, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.` is kept under the folder's own name."""
    _write(tmp_path / "here" / "f")
    monkeypatch.chdir(tmp_path / "here")
    assert back(Directory(".")).name == "here"


def test_links_to_files_of_the_same_folder_are_followed(tmp_path: Path, back: Back) -> None:
    """They come back as files."""
    _write(tmp_path / "d" / "in" / "file", b"data")
    (tmp_path / "d" / "link").symlink_to("in/file")
    found = back(Directory(tmp_path / "d"))
    assert (found.path / "link").read_bytes() == b"data"
    assert not (found.path / "link").is_symlink()


def _special(kind: str, folder: Path) -> None:
    path = folder / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
    elif kind == "outside":
        path.symlink_to(_write(folder.parent / "outside"))
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "folder":
        (folder / "sub").mkdir()
        path.symlink_to("sub")
    elif kind == "loop":
        path.symlink_to("odd")


@pytest.mark.parametrize("kind", ["pipe", "socket", "outside", "dangling", "folder", "loop"])
def test_what_is_no_file_of_the_folder_is_refused(
    kind: str, tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the path in the tree and the path on the disk."""
    monkeypatch.chdir(tmp_path)
    folder = Path("d")
    folder.mkdir()
    _special(kind, folder)
    with pytest.raises(BadPath) as told:
        encode_value({"d": Directory(folder)}, memory)
    assert 'value["d"]' in str(told.value)
    assert "d/odd" in str(told.value)


@pytest.mark.parametrize(
    "names", [("a", "A"), ("é", "e\u0301"), ("x/a", "X/b"), ("ß", "SS"), ("\u212a", "k")]
)
def test_names_that_are_one_elsewhere_are_refused(
    names: tuple[str, str], tmp_path: Path, memory: Memory
) -> None:
    """Case and normalisation do not tell files apart on every system."""
    for name in names:
        _write(tmp_path / "d" / name)
    with pytest.raises(BadPath, match="differ only in case"):
        encode_value(Directory(tmp_path / "d"), memory)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"line\nbreak", b"back\\slash", b"bell\x07"])
def test_names_that_cannot_travel_are_refused(name: bytes, tmp_path: Path, memory: Memory) -> None:
    """No Unicode, control characters, backslashes: as a file and in a folder."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path / "d"), name)))
    _write(path)
    for value in (File(path), Directory(tmp_path / "d")):
        with pytest.raises(BadPath):
            encode_value([value], memory)


def test_what_is_not_there_or_of_the_other_kind_is_refused(tmp_path: Path, memory: Memory) -> None:
    """With the path in the tree, and the class that fits."""
    file = _write(tmp_path / "f")
    for value, told in (
        (File(tmp_path / "no"), "there is no file"),
        (Directory(tmp_path / "no"), "there is no file"),
        (File(tmp_path), "Directory"),
        (Directory(file), "File"),
        (File(), "needs a path"),
    ):
        with pytest.raises(BadPath, match=told) as error:
            encode_value({"k": value}, memory)
        assert 'value["k"]' in str(error.value)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "a\x00b",
     "a\\b", "a\nb", "\x7f", "\x9b", "a\u2028b", "\udc80", "x" * 256, "é" * 128],
)  # fmt: skip
def test_paths_that_leave_the_folder_or_cannot_be_shown_are_refused(path: str) -> None:
    """The same check for what is added and for what is pulled."""
    with pytest.raises(BadPath):
        check_relative_path(path)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\\/"))
)
def test_a_path_that_passes_stays_inside(part: str) -> None:
    """Whatever passes is below the folder that it is joined to."""
    try:
        path = check_relative_path(f"{part}/{part}")
    except BadPath:
        assert part in ("", ".", "..") or len(part.encode()) > 255
        return
    assert os.path.normpath(os.path.join("/top", path)) == f"/top/{part}/{part}"


@pytest.mark.heavy
def test_a_folder_of_500_levels_comes_back_and_a_deeper_one_is_refused(
    tmp_path: Path, back: Back, memory: Memory
) -> None:
    """What walks and deletes folders could not go down 1,500 levels; the cure is named."""
    file = _write(nested(tmp_path / "deep", 499) / "file")
    found = back(Directory(tmp_path / "deep"))
    assert (found.path / file.relative_to(tmp_path / "deep")).read_bytes() == b"x"
    deeper = tmp_path / "deeper"
    _write(nested(deeper, 1499) / "file")
    try:
        with pytest.raises(BadPath, match=r"value: .* has more than 500 parts") as told:
            encode_value(Directory(deeper), memory)
    finally:
        # pytest, too, cannot go down so far.
        subprocess.run(["rm", "-rf", deeper], check=True)
    assert told.value.hint == "a .tar file of the folder"


def test_a_file_that_is_also_a_folder_is_refused() -> None:
    """In whichever order they come."""
    for paths in ((("a", False), ("a/b", False)), (("a/b", False), ("a", False))):
        tree = PathTree()
        tree.add(paths[0][0], folder=paths[0][1])
        with pytest.raises(BadPath, match="both a file and a folder"):
            tree.add(paths[1][0], folder=paths[1][1])


def _thousand(folder: Path) -> Path:
    for at in range(1000):
        # Of the same bytes each time: they decide where the nodes are cut.
        _write(folder / f"part-{at:04}.bin", hashlib.sha256(b"%d" % at).digest()[:8] * 1250)
    return folder


@pytest.mark.heavy
def test_one_changed_file_of_a_thousand_sends_little(tmp_path: Path, memory: Memory) -> None:
    """Its own 10 KB and two or three nodes; also when one comes or goes."""
    folder = _thousand(tmp_path / "d")
    root = encode_value({"raw": Directory(folder)}, memory)

    def news() -> list[int]:
        before = set(memory.objects)
        found = encode_value({"raw": Directory(folder)}, memory)
        assert found != root
        return [len(data) for digest, data in memory.objects.items() if digest not in before]

    _write(folder / "part-0500.bin", b"0123456789" * 1000)
    assert sum(news()) < 30_000
    _write(folder / "part-0000-more.bin", b"9876543210" * 1000)
    changed = news()
    assert sum(changed) < 30_000
    assert len(changed) <= 4
    (folder / "part-0700.bin").unlink()
    assert sum(news()) < 20_000


def test_the_outline_of_a_directory_counts_what_it_does_not_show(
    tmp_path: Path, memory: Memory
) -> None:
    """Name, bytes and number of files; no file is read."""
    root = encode_value({"raw": Directory(_thousand(tmp_path / "d"))}, memory)
    leaves = {link for link, is_node in links(root, memory.read) if not is_node}
    assert len(leaves) == 1000
    memory.read_links.clear()
    found = outline(root, memory.read)["entries"][0]
    assert not leaves & set(memory.read_links)
    assert (found["name"], found["size"], found["count"]) == ("d", 10_000_000, 1000)
    assert found["entries"][0] == {"path": "part-0000.bin", "size": 10_000}
    assert found["more"] == 1000 - len(found["entries"])


def test_a_directory_of_a_thousand_files_takes_few_steps_a_file(
    tmp_path: Path, memory: Memory
) -> None:
    """Calls, Python's and the libraries', of which time is made; the benchmarks have the time."""
    folder = _thousand(tmp_path / "d")
    encode_value(Directory(folder), memory)
    assert _calls(lambda: encode_value(Directory(folder), memory)) < CALLS_A_FILE * 1000


def test_a_small_value_takes_few_steps(memory: Memory) -> None:
    """As above, of a dict of four entries."""
    value = {"rows": 3, "mean": 2.5, "names": ["a", "b"], "none": None}
    encode_value(value, memory)
    assert _calls(lambda: encode_value(value, memory)) < CALLS_A_VALUE


def _calls(act: Callable[[], object]) -> int:
    count = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def test_equal_content_is_one_folder_whatever_its_name(tmp_path: Path, memory: Memory) -> None:
    """The source is asked with one root for both."""
    for name in ("one", "two"):
        _write(tmp_path / name / "f", b"same")
    found: Any = decode_value(
        encode_value([Directory(tmp_path / n) for n in ("one", "two")], memory), memory
    )
    assert found[0].path.parent == found[1].path.parent
    assert found[0].path != found[1].path


def test_bytes_come_when_they_are_asked_for(tmp_path: Path, memory: Memory) -> None:
    """A thawed file costs nothing until its path is wanted, and missing bytes are an error then."""
    root = encode_value([File(_write(tmp_path / "f", b"data"))], memory)
    (leaf,) = [link for link, is_node in links(root, memory.read) if not is_node]
    del memory.objects[leaf.digest]
    found: Any = decode_value(root, memory)
    assert (found[0].name, found[0].link) == ("f", leaf)
    with pytest.raises(IntegrityError):
        _ = found[0].path
