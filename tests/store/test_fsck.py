"""The proof of a store: each kind of damage in turn is found and named, and mended as it says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Lineage, ReuseKey
from bundlerun.bundles.storage import stamp_of
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import IntegrityError
from bundlerun.store.contexts import Context
from bundlerun.store.fsck import fsck
from bundlerun.store.reports import Finding, Kind, Proof
from bundlerun.store.store import Store
from tests.unreadable import keep, latin_1

pytestmark = pytest.mark.heavy

LARGE = 300 * 1024
MEMBERS = 180


@pytest.fixture
def full(store: Store, context: Context, tmp_path: Path) -> Store:
    """A store with all but a local pack: rows, files, tags, keys, runs, localised files."""
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(LARGE))
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"{number} of a file")
    (folder / "run.sh").write_text("run")
    (folder / "run.sh").chmod(0o755)
    key = ReuseKey({"pipe": "a.B", "params": "{}"})
    value = {"large": File(large), "folder": Directory(folder), "text": "x" * 5000}
    lineage = Lineage(pipe="a.B", task=key)
    store.add(context, "kept", value, tags={"a": "b"}, lineage=lineage, commit=True)
    store.add(context, "many", [os.urandom(3000) for _ in range(70)], commit=True)
    store.journal.add(context, {"id": "run-1", "state": "done"})
    store.noted_images.save("image", {"tag": "x"})
    out: Any = store.value(store.catalog.get(context, "kept").bundle)
    assert out["large"].path.exists()
    assert out["folder"].path.is_dir()
    (tmp_path / "small.txt").write_text("small")
    store.add(context, "small", File(tmp_path / "small.txt"))
    small: Any = store.value(store.catalog.get(context, "small").bundle)
    assert small.path.read_text() == "small"
    return store


@pytest.fixture
def packed(store: Store, context: Context) -> Store:
    """A store whose one bundle brought so much that most of it lies in a local pack."""
    store.add(context, "many", [os.urandom(100_000) for _ in range(MEMBERS)], commit=True)
    return store


def damage(proof: Proof) -> list[Finding]:
    """What is wrong."""
    return [finding for finding in proof.findings if finding.is_damage]


def sql(store: Store, statement: str, *values: object) -> list[Any]:
    """Change the file of the catalog behind the store's back."""
    with sqlite3.connect(store.path / "store.sqlite") as connection:
        return connection.execute(statement, values).fetchall()


def large_object(store: Store) -> Path:
    """The file of a large object."""
    return next(path for path in (store.path / "objects").glob("??/*"))


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a read-only file, and keep its mode."""
    data, mode = path.read_bytes(), path.stat().st_mode
    fresh = path.with_name("fresh")
    fresh.write_bytes(change(data))
    os.replace(fresh, path)
    path.chmod(mode & 0o777)


def flipped(data: bytes) -> bytes:
    """One bit is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_whole_store_has_no_damage(full: Store) -> None:
    """And what was looked at is counted."""
    proof = fsck(full)
    assert proof.whole
    assert proof.findings == ()
    assert proof.looked_at["bundles"] == 3
    assert proof.looked_at["localised files"] == 2
    assert proof.looked_at["localised folders"] == 1
    assert proof.looked_at["objects"] > 70


def values(store: Store, context: Context) -> list[str]:
    """Each value, as far as a text tells it."""
    found = []
    for name in ("kept", "many", "small"):
        value: Any = store.value(store.catalog.get(context, name).bundle)
        if name == "kept":
            data = value["large"].path.read_bytes()
            texts = [path.read_text() for path in sorted(value["folder"].path.iterdir())]
            found.append(f"{digest_of(data)} {texts} {value['text'][:5]}")
        else:
            found.append(repr(value.path.read_text() if name == "small" else value[:3]))
    return found


@pytest.mark.parametrize("how", ["flipped", "truncated", "replaced", "deleted", "emptied"])
def test_a_damaged_large_file_is_mended_from_its_localised_copy(
    full: Store, context: Context, how: str
) -> None:
    """Found by name; the damaged one goes to quarantine/, the value is as it was."""
    before = values(full, context)
    path = large_object(full)
    changes: dict[str, Callable[[bytes], bytes]] = {
        "flipped": flipped,
        "truncated": lambda data: data[:-7],
        "replaced": lambda data: b"z" * len(data),
        "emptied": lambda data: b"",
    }
    if how == "deleted":
        path.unlink()
    else:
        rewritten(path, changes[how])
    (found,) = damage(fsck(full))
    assert path.parent.name + path.name in found.what
    assert "kept@" in found.detail
    assert found.mendable == "from another copy on this disk"
    proof = fsck(full, repair=True)
    assert proof.whole
    assert proof.findings[0].mended
    assert fsck(full).findings == ()
    assert values(full, context) == before
    aside = list((full.path / "quarantine").glob("*")) if how != "deleted" else [path]
    assert len(aside) == 1


@pytest.mark.parametrize("what", ["small", "text"])
def test_a_rotten_row_is_found(full: Store, context: Context, what: str) -> None:
    """SQLite itself notices nothing; a localised copy mends it, and where there is none it goes
    aside so that nobody believes it, and adding the bytes again makes the store whole."""
    data = b"small" if what == "small" else b"x" * 5000
    raw = bytes.fromhex(digest_of(data))
    sql(full, "UPDATE objects SET data = ? WHERE digest = ?", flipped(data), raw)
    (found,) = damage(fsck(full))
    assert found.what == f"object {raw.hex()}"
    assert found.where == "store.sqlite"
    if what == "small":
        assert fsck(full, repair=True).whole
        assert values(full, context)
        return
    assert found.mendable is None
    proof = fsck(full, repair=True)
    assert not proof.whole
    assert "quarantine" in damage(proof)[0].detail
    assert (full.path / "quarantine" / raw.hex()).read_bytes() == flipped(data)
    full.add(context, "again", "x" * 5000)
    assert fsck(full).whole


def test_a_row_of_another_size_is_mended_from_its_bytes(full: Store) -> None:
    """The bytes say how many they are."""
    raw = bytes.fromhex(digest_of(b"small"))
    sql(full, "UPDATE objects SET size = 6 WHERE digest = ?", raw)
    assert any(f"{raw.hex()}" in found.what for found in damage(fsck(full)))
    fsck(full, repair=True)
    assert fsck(full).findings == ()


def test_a_row_that_lost_its_digest_is_found_again_by_its_bytes(
    full: Store, context: Context
) -> None:
    """What it was called is missing, what it is called now is damaged: one mends the other."""
    before = values(full, context)
    raw = bytes.fromhex(digest_of(b"x" * 5000))
    sql(full, "UPDATE objects SET digest = ? WHERE digest = ?", flipped(raw), raw)
    kinds = {(found.kind, found.what.split()[1]) for found in damage(fsck(full))}
    assert kinds == {(Kind.DAMAGED, flipped(raw).hex()), (Kind.MISSING, raw.hex())}
    fsck(full, repair=True)
    assert fsck(full).whole
    assert values(full, context) == before


def test_a_missing_row_is_mended_from_the_file_that_it_named(full: Store, context: Context) -> None:
    """The file has its own name to prove it."""
    path = large_object(full)
    raw = bytes.fromhex(path.parent.name + path.name)
    sql(full, "DELETE FROM objects WHERE digest = ?", raw)
    (found,) = damage(fsck(full))
    assert (found.kind, found.mendable) == (Kind.MISSING, "its file has no row")
    fsck(full, repair=True)
    assert fsck(full).findings == ()
    assert values(full, context)


def test_an_object_that_nobody_has_is_named_and_stays_missing(full: Store) -> None:
    """With the bundle that needs it."""
    raw = bytes.fromhex(digest_of(b"x" * 5000))
    sql(full, "DELETE FROM objects WHERE digest = ?", raw)
    (found,) = damage(fsck(full, repair=True))
    assert found.kind is Kind.MISSING
    assert found.mendable is None
    assert raw.hex() in found.what
    assert "kept@" in found.detail


def test_a_damaged_node_names_its_bundle(full: Store, context: Context) -> None:
    """What lies below it is not looked at, and no error comes of it."""
    root = full.catalog.get(context, "kept").bundle.root
    raw = bytes.fromhex(root.digest)
    sql(full, "UPDATE objects SET data = ? WHERE digest = ?", b"{" * root.size, raw)
    (found,) = damage(fsck(full))
    assert root.digest in found.what
    assert "kept@" in found.detail


@pytest.mark.parametrize("how", ["member", "index", "truncated", "deleted", "mode"])
def test_a_damaged_local_pack_is_named(packed: Store, context: Context, how: str) -> None:
    """Its whole members become rows; what is lost goes with a name."""
    assert fsck(packed).looked_at["local packs"] == 1
    (path,) = (packed.path / "packs").iterdir()
    if how == "deleted":
        path.unlink()
    elif how == "mode":
        path.chmod(0o666)
    else:
        size = path.stat().st_size
        changes: dict[str, Callable[[bytes], bytes]] = {
            "member": lambda data: flipped(data[:100]) + data[100:],
            "index": lambda data: data[: size - 200] + flipped(data[size - 200 :]),
            "truncated": lambda data: data[: size // 2],
        }
        rewritten(path, changes[how])
    found = damage(fsck(packed))
    assert found
    assert all(path.name in each.what or path.name in each.where for each in found)
    proof = fsck(packed, repair=True)
    left = damage(proof)
    if how in ("index", "mode"):
        assert left == []
        assert fsck(packed).whole
        assert len(packed.value(packed.catalog.get(context, "many").bundle)) == MEMBERS  # type: ignore[arg-type]
        return
    assert left
    assert all("many@" in each.detail for each in left)
    if how == "member":
        assert len(left) == 1
    assert {each.kind for each in damage(fsck(packed))} == {Kind.MISSING}


def test_modes_are_mended(full: Store) -> None:
    """Objects and localised files are read-only again."""
    path = large_object(full)
    path.chmod(0o644)
    script = next((full.path / "files").glob("*+d/*/run.sh"))
    script.chmod(0o700)
    kinds = {(found.kind, found.mendable) for found in damage(fsck(full))}
    assert kinds == {(Kind.MODE, "chmod 444"), (Kind.MODE, "chmod 555")}
    assert fsck(full, repair=True).whole
    assert fsck(full).findings == ()
    assert (path.stat().st_mode & 0o777, script.stat().st_mode & 0o777) == (0o444, 0o555)


def test_a_file_that_was_made_writable_and_written_to_goes_aside(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """What a program does to a link. Nothing has its bytes: the repair says so, and does the rest;
    adding the file again makes the store whole."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 400_000)
    store.add(context, "x", File(source), commit=True)
    path = large_object(store)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"WRONG")
    (found,) = damage(fsck(store, repair=True))
    assert "x@" in found.detail
    assert len(list((store.path / "quarantine").iterdir())) == 1
    store.add(context, "x", File(source), commit=True)
    assert fsck(store).whole


@pytest.mark.parametrize("which", ["small.txt", "1.txt"])
@pytest.mark.parametrize("how", ["flipped", "emptied"])
def test_a_localised_file_that_differs_goes_aside_and_is_made_anew(
    full: Store, context: Context, which: str, how: str
) -> None:
    """It is no truth, and whoever asks for its path next gets a sound one: it is not damage."""
    before = values(full, context)
    (path,) = (full.path / "files").rglob(which)
    rewritten(path, flipped if how == "flipped" else lambda data: b"")
    (found,) = fsck(full).findings
    assert found.kind is Kind.STALE
    assert which in f"{found.where} {found.detail}"
    assert fsck(full, repair=True).whole
    assert fsck(full).findings == ()
    assert values(full, context) == before


UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
"""So root reads what its mode lets it read, and no more (capabilities(7))."""


@pytest.mark.parametrize("which", ["a file", "a file of a folder", "what holds it"])
def test_a_localised_file_that_cannot_be_read_is_found_and_hides_nothing(
    full: Store, which: str
) -> None:
    """The rest of the store is proven all the same, and the repair puts it aside."""
    folder = full.path / "files"
    path = next(folder.rglob("small.txt" if which == "a file" else "1.txt"))
    if which == "what holds it":
        path = next(folder.glob("*+d"))
    path.chmod(0)
    damaged = large_object(full)
    rewritten(damaged, flipped)
    call = f"fsck(Store.open(Path({str(full.path)!r})))"
    told = "print(*(f.where + ': ' + f.detail for f in found.findings if f.is_damage), sep='\\n')"
    program = (
        "from pathlib import Path; from bundlerun.store.fsck import fsck;"
        f" from bundlerun.store.store import Store; found = {call}; {told}"
    )
    command = [*(UNPRIVILEGED if os.getuid() == 0 else []), sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert "cannot be read: Permission denied" in done.stdout
    assert damaged.name in done.stdout


def test_a_file_that_was_put_into_a_localised_folder_is_found(full: Store) -> None:
    """A folder has the files that its name says, and no other."""
    (folder,) = (full.path / "files").glob("*+d/folder")
    (folder / "more").write_text("more")
    (found,) = fsck(full).findings
    assert found.kind is Kind.STALE
    assert "more" in found.detail


def test_a_copy_that_would_be_given_out_with_other_bytes_is_damage(full: Store) -> None:
    """Bytes that rot under a stamp that is believed."""
    (path,) = (full.path / "files").rglob("large.bin")
    rewritten(path, flipped)
    (found,) = fsck(full).findings
    assert found.kind is Kind.STALE
    with sqlite3.connect(full.path / "store.sqlite") as database:
        database.execute("UPDATE copies SET stamp = ?", (stamp_of(os.lstat(path)),))
    (found,) = damage(fsck(full))
    assert (found.kind, found.what) == (Kind.DAMAGED, "localised large.bin")
    assert fsck(full, repair=True).whole
    assert not path.exists()


def test_litter_is_no_damage(full: Store, tmp_path: Path) -> None:
    """What a crash leaves; `gc` takes it."""
    objects = full.path / "objects"
    (objects / "tmp" / "left").write_text("x")
    (objects / "ab").mkdir(exist_ok=True)
    (objects / "ab" / "no-digest").write_text("x")
    (objects / "strange").write_text("x")
    (full.path / "packs").mkdir(exist_ok=True)
    (full.path / "packs" / "nobodys").write_text("x")
    (full.path / "files" / "nobodys").mkdir()
    data = b"rowless" * 100_000
    rowless = objects / digest_of(data)[:2] / digest_of(data)[2:]
    rowless.parent.mkdir(exist_ok=True)
    rowless.write_bytes(data)
    proof = fsck(full, repair=True)
    assert proof.whole
    assert {finding.kind for finding in proof.findings} == {Kind.LITTER}
    assert len(proof.findings) == 6
    assert rowless.exists()


def test_a_rowless_file_with_other_bytes_is_damage(full: Store, context: Context) -> None:
    """Adding what its name says would believe it, for it has the size."""
    data = b"rowless" * 100_000
    digest = digest_of(data)
    path = full.path / "objects" / digest[:2] / digest[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(flipped(data))
    (found,) = damage(fsck(full))
    assert digest in found.what
    assert fsck(full, repair=True).whole
    added = full.add(context, "rowless", data).bundle
    assert full.value(added) == data


RECORD_DAMAGE = {
    "a flipped parameter": "UPDATE bundles SET record = replace(record, '{}', '[]')"
    " WHERE name = 'kept'",
    "no JSON": "UPDATE bundles SET record = x'ff' WHERE name = 'kept'",
    "another record": "UPDATE bundles SET record = (SELECT record FROM bundles WHERE name = 'many')"
    " WHERE name = 'kept'",
}


@pytest.mark.parametrize("how", RECORD_DAMAGE)
def test_a_damaged_record_is_named(full: Store, how: str) -> None:
    """By the name and id of its row; without a remote nobody has another."""
    sql(full, RECORD_DAMAGE[how])
    (found,) = damage(fsck(full))
    assert "kept@" in found.what
    assert "record" in found.detail
    assert found.mendable is None


ROW_DAMAGE = {
    "name": "UPDATE bundles SET name = 'other' WHERE name = 'kept'",
    "id": "UPDATE bundles SET id = substr(id, 2) WHERE name = 'kept'",
    "task": "UPDATE bundles SET task = 'x' WHERE name = 'kept'",
    "tags": "UPDATE tags SET value = 'other'",
    "no tags": "DELETE FROM tags",
    "rank": "UPDATE bundles SET rank = 7 WHERE name = 'small'",
    "run": "UPDATE runs SET json = '{'",
    "run's id": "UPDATE runs SET id = 'other'",
    "image": "UPDATE images SET json = '[]'",
}


@pytest.mark.parametrize("what", ROW_DAMAGE)
def test_rows_that_contradict_their_record_are_mended_from_it(full: Store, what: str) -> None:
    """Each column that says again what the record says; and journals that are none go aside."""
    sql(full, ROW_DAMAGE[what])
    found = damage(fsck(full))
    assert len(found) == 1
    assert found[0].mendable is not None
    assert fsck(full, repair=True).whole
    assert fsck(full).findings == ()


def test_an_index_that_lacks_a_row_is_built_anew(full: Store) -> None:
    """SQLite's own check finds it."""
    with sqlite3.connect(full.path / "store.sqlite") as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', 'NOT NULL AND 0')"
            " WHERE name = 'bundles_task'"
        )
    with sqlite3.connect(full.path / "store.sqlite") as connection:
        connection.execute("REINDEX")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL AND 0', 'NOT NULL')"
            " WHERE name = 'bundles_task'"
        )
    full.close()
    found = damage(fsck(full))
    assert any("index" in each.detail for each in found)
    assert all(each.mendable == "REINDEX" for each in found)
    assert fsck(full, repair=True).whole
    assert fsck(full).findings == ()


def test_a_torn_catalog_is_an_error_by_name_and_no_crash(full: Store) -> None:
    """Pages of zeros in the middle of the file."""
    full.close()
    path = full.path / "store.sqlite"
    for litter in path.parent.glob("store.sqlite-*"):
        litter.unlink()
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    found = damage(fsck(full))
    assert found
    assert all(each.where == "store.sqlite" for each in found if each.what != "objects")


def test_the_proof_changes_nothing_without_repair(full: Store) -> None:
    """Not even a mode."""
    rewritten(large_object(full), flipped)
    copy = full.path.parent / "copy"
    full.close()
    shutil.copytree(full.path, copy)
    fsck(full)
    full.close()
    left = {p.relative_to(copy): p.stat().st_mode for p in copy.rglob("*") if "lock" not in p.name}
    now = {
        p.relative_to(full.path): p.stat().st_mode
        for p in full.path.rglob("*")
        if "lock" not in p.name and "sqlite-" not in p.name and "turn" not in p.name
    }
    assert {path: mode for path, mode in left.items() if path in now} == now


@pytest.mark.parametrize("rows", [2, 100_000])
def test_a_table_that_cannot_be_read_is_found_and_said_what_can(
    store: Store, context: Context, rows: int
) -> None:
    """Its bytes are whole, so no repair helps; another version, or the source, does."""
    sound = pa.table({"city": ["x"]})
    bad = keep(store, context, "t", latin_1(rows))
    for repair in (False, True):
        (finding,) = damage(fsck(store, repair=repair))
        assert finding.what.startswith("table ")
        assert finding.mendable is None
        assert "its column 'city' is not valid string: " in finding.detail
        assert f"t@{bad.bundle.id} needs it" in finding.detail
        assert "no other version of 't' can be read: add it again" in finding.detail
    with pytest.raises(IntegrityError, match="its column 'city' is not valid") as error:
        store.value(bad.bundle)
    assert error.value.hint == "bundlerun fsck"
    good = store.add(context, "t", sound, commit=True)
    keep(store, context, "t", latin_1(3))
    found = damage(fsck(store))
    assert len(found) == 2
    assert all(f"t@{good.bundle.id} can be read" in each.detail for each in found)


def test_a_file_that_is_no_table_may_hold_what_it_likes(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """The same bytes kept as a File are the user's own business."""
    keep(store, context, "t", latin_1())
    data = next(d for (d,) in sql(store, "SELECT data FROM objects") if d[:6] == b"ARROW1")
    (tmp_path / "t.arrow").write_bytes(data)
    store.add(context, "file", File(tmp_path / "t.arrow"), commit=True)
    (finding,) = damage(fsck(store))
    assert "t@" in finding.detail
    assert "file@" not in finding.detail
