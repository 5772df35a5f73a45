"""The codec: what goes in on one machine comes out equal on another, and large leaves go once."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundlerun as br
from bundlerun.bundles.link import PART_BYTES
from bundlerun.errors import (
    BadPath,
    BadValue,
    BundlerunError,
    IntegrityError,
    ItemFailed,
    Untrusted,
)
from bundlerun.futures.codec import INLINE_BYTES, OBJECT_BYTES, Codec, packs_in
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.store.store import Store
from tests.bundles.awkward import EQUAL, REFUSED
from tests.bundles.sameness import same
from tests.futures.conftest import Machines
from tests.futures.values import Held, Measured, Rude
from tests.remotes.conftest import remote_at
from tests.remotes.watched import Counting
from tests.sampled import sampled

LARGE = 3 << 20


def there(machines: Machines, value: Any, *, trusted: bool = True) -> Any:
    """``value`` as the job sees it."""
    return machines.job.decode(machines.client.encode(value), trusted)


def no_disk() -> Codec:
    """A codec whose store and remote cannot be opened."""
    return Codec(FileRemote("file:///proc/none"), Path("/proc/none"))


@pytest.mark.parametrize("name", sampled(EQUAL, each=40))
def test_what_a_bundle_keeps_comes_back_equal(name: str, machines: Machines) -> None:
    """Without a pickle, so without trust; as an item of several arguments too."""
    value = EQUAL[name]
    assert same(there(machines, value, trusted=False), value)
    assert same(there(machines, (value, 1), trusted=False), (value, 1))


NO_PICKLE = {
    "generator",
    "lock",
    "memoryview",
    "attrs nested 2,000 deep",
    "Latin-1 in the name of a column",
    "polars objects",
}
"""What its library, or Python, does not pickle."""


@pytest.mark.parametrize("name", sampled(REFUSED, each=20))
def test_what_no_bundle_keeps_comes_back_pickled(name: str, machines: Machines) -> None:
    """Or is refused with the reason; never as something else."""
    value = REFUSED[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in NO_PICKLE:
            with pytest.raises(BadValue, match="cannot be pickled"):
                machines.client.encode(value)
            return
        data = machines.client.encode(value)
        found = machines.job.decode(data, True)
    assert type(found) is type(value)
    with pytest.raises(Untrusted, match="pickle"):
        machines.job.decode(data, False)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.datetimes() | st.complex_numbers() | st.fractions(),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=5) | st.tuples(st.integers()), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
def test_any_plain_value_comes_back_without_a_disk(value: Any) -> None:
    """Small ones open no store and ask no remote, whichever way they travel."""
    assert repr(no_disk().decode(no_disk().encode(value), True)) == repr(value)


def test_ten_thousand_small_items_ask_nothing_of_the_remote(machines: Machines) -> None:
    """And take few bytes each."""
    encoded = [machines.client.encode((number,)) for number in range(10_000)]
    assert [machines.job.decode(each, False) for each in encoded] == [
        (number,) for number in range(10_000)
    ]
    assert max(map(len, encoded)) < 60
    assert machines.of_client.requests == machines.of_job.requests == []
    assert not machines.scratch.exists()


@pytest.mark.heavy
def test_a_large_array_goes_once_however_often_it_is_used(machines: Machines) -> None:
    """A hundred items with the same array: one pack, and little in each item."""
    array = np.random.default_rng(0).random(LARGE // 8)
    encoded = [machines.client.encode((array, number)) for number in range(100)]
    assert [kind for kind, key in machines.of_client.requests if key.startswith("packs/")] == [
        "put"
    ]
    assert max(map(len, encoded)) < 1000
    assert len({share.pack.uuid for each in encoded for share in packs_in(each)}) == 1
    for number, each in enumerate(encoded[:3]):
        found = machines.job.decode(each, False)
        assert same(found, (array, number))
    got = [key for kind, key in machines.of_job.requests if key.startswith("packs/")]
    assert LARGE < machines.of_job.received < 1.1 * LARGE
    assert len(got) <= 2


@pytest.mark.heavy
def test_what_the_remote_has_of_bundles_is_not_sent_again(machines: Machines) -> None:
    """A table that was pushed goes as its digest alone."""
    from bundlerun.remotes.push import push

    array = np.arange(LARGE // 8)
    binding = machines.binding
    entry = binding.store.add(binding.context, "x", array, commit=True)
    push(binding, [entry])
    machines.of_client.forget()
    data = machines.client.encode({"it": array})
    assert machines.of_client.sent < 1000
    assert same(machines.job.decode(data, False), {"it": array})


@pytest.mark.heavy
def test_a_result_that_is_large_comes_back_by_its_digest(machines: Machines) -> None:
    """From the job's scratch folder, which is gone by then."""
    array = np.random.default_rng(1).random(LARGE // 8)
    data = machines.job.encode([array, "x" * 200_000, b"y" * 300_000])
    shutil.rmtree(machines.scratch)
    assert len(data) < INLINE_BYTES + 1000
    found = machines.client.decode(data, False)
    assert same(found, [array, "x" * 200_000, b"y" * 300_000])


def test_files_and_folders_come_back_as_they_are(machines: Machines, tmp_path: Path) -> None:
    """Of a job whose disk is gone; a small one within the result, a large one from a pack."""
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    (made / "small.txt").write_text("small")
    (made / "sub/run.sh").write_text("#!/bin/sh")
    (made / "sub/run.sh").chmod(0o755)
    (made / "large.bin").write_bytes(bytes(range(256)) * 4096)
    value = {"dir": br.Directory(made), "file": br.File(made / "large.bin"), "n": 1}
    data = machines.job.encode(value)
    shutil.rmtree(made)
    shutil.rmtree(machines.scratch)
    found = machines.client.decode(data, False)
    assert found["dir"].files() == ["large.bin", "small.txt", "sub/run.sh"]
    assert (found["dir"].path / "small.txt").read_text() == "small"
    assert (found["dir"].path / "sub/run.sh").stat().st_mode & 0o100
    assert found["file"].path.name == "large.bin"
    assert found["file"].read_bytes() == bytes(range(256)) * 4096


def test_files_within_objects_of_other_classes_come_back(
    machines: Machines, tmp_path: Path
) -> None:
    """A pickle would have had a path of the other machine."""
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "folder").mkdir()
    file = br.File(tmp_path / "a.txt")
    data = machines.client.encode(Measured("m", file, br.Directory(tmp_path / "folder"), file))
    shutil.rmtree(tmp_path / "folder")
    (tmp_path / "a.txt").unlink()
    found = machines.job.decode(data, True)
    assert type(found) is Measured
    assert found.file.path.read_text() == "a"
    assert found.again is found.file
    assert found.folder.path.is_dir()


@pytest.mark.heavy
def test_a_large_pickle_goes_to_a_pack(machines: Machines) -> None:
    """An item is small whatever it holds."""
    value = {1, "x" * LARGE}
    data = machines.client.encode(value)
    assert len(data) < 1000
    assert machines.job.decode(data, True) == value


def test_a_file_that_is_not_there_is_refused(machines: Machines, tmp_path: Path) -> None:
    """By its path; also within an object."""
    absent = br.File(tmp_path / "absent")
    for value in (absent, [1, absent], Measured("m", absent)):
        with pytest.raises(BadPath, match="absent"):
            machines.client.encode(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Held(), "cannot pickle '_thread.lock'"),
        (Rude(), "ZeroDivisionError: rude"),
        ((each for each in ()), "cannot pickle 'generator'"),
        (memoryview(b"x"), "would come back as something else"),
        (open(__file__), "would come back as something else"),  # noqa: SIM115
    ],
    ids=["lock", "rude", "generator", "memoryview", "open file"],
)
def test_what_cannot_travel_is_refused_with_the_reason(value: Any, why: str) -> None:
    """Its class, and what pickle says."""
    with pytest.raises(BadValue) as caught:
        no_disk().encode(value)
    assert why in str(caught.value)
    assert type(value).__name__ in str(caught.value)


@pytest.mark.heavy
def test_the_bundles_in_a_value_are_known_and_not_sent(machines: Machines) -> None:
    """Their records travel; their values are pushed as bundles are."""
    binding = machines.binding
    entry = binding.store.add(binding.context, "x", np.zeros(LARGE // 8), commit=True)
    record = entry.bundle
    small = machines.client.encode([record, "bundle"])
    large = machines.client.encode([record, np.ones(LARGE // 8)])
    other = machines.client.encode({record.id: {record.root}, "it": record})
    assert machines.client.bundles == {record.id: record}
    assert machines.of_client.sent < 1.1 * LARGE
    assert machines.job.decode(small, False) == [record, "bundle"]
    assert machines.job.decode(large, False)[0] == record
    assert machines.job.decode(other, True)["it"] == record


def test_the_modules_that_pickles_need_are_known() -> None:
    """The sources of an item's class travel with the function."""
    codec = no_disk()
    codec.encode((1, "x"))
    assert codec.modules == set()
    codec.encode(Held.__init__)
    assert "tests.futures.values" in codec.modules


def test_a_pickle_that_cannot_be_loaded_is_told(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is missing on this machine, as ItemFailed."""
    (tmp_path / "only_there.py").write_text("class Own:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_there  # type: ignore[import-not-found]

    data = machines.client.encode(only_there.Own())
    monkeypatch.undo()
    del sys.modules["only_there"]
    with pytest.raises(ItemFailed, match=r"No module named 'only_there'") as caught:
        machines.job.decode(data, True)
    assert caught.value.class_name == "ModuleNotFoundError"


def test_a_bomb_does_not_go_off_unless_it_is_trusted(machines: Machines, tmp_path: Path) -> None:
    """Neither a pickle of ours, nor one in the place of a bundle value's bytes."""
    mark = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    data = machines.client.encode({1: Bomb()})
    with pytest.raises(Untrusted):
        machines.job.decode(data, False)
    for tag in (b"v", b"p", b"x", b""):
        with pytest.raises(BundlerunError):
            machines.job.decode(tag + pickle.dumps(Bomb()), False)
    assert same(machines.job.decode(b"v" + data[1:], False)[1:], [])
    assert not mark.exists()


@given(st.data())
def test_flipped_bits_and_cuts_are_refused_or_harmless(draw: st.DataObject) -> None:
    """Where no seal stands before them: other bytes are another value or an error of ours."""
    data = bytearray(no_disk().encode({"a": [1, 2.5, None], "b": "text" * 2000}))
    if draw.draw(st.booleans()):
        bit = draw.draw(st.integers(0, 8 * len(data) - 1))
        data[bit // 8] ^= 1 << bit % 8
    else:
        del data[draw.draw(st.integers(0, len(data) - 1)) :]
    with contextlib.suppress(BundlerunError):
        no_disk().decode(bytes(data), False)


@pytest.mark.heavy
@pytest.mark.parametrize("change", ["cut", "flipped", "gone"])
def test_a_damaged_pack_is_never_a_value(change: str, machines: Machines, tmp_path: Path) -> None:
    """It is found by its digest, as that of a bundle is."""
    data = machines.client.encode(np.arange(LARGE // 8))
    (pack,) = [path for path in (tmp_path / "remote/packs").iterdir()]
    held = bytearray(pack.read_bytes())
    held[LARGE // 2] ^= 1
    pack.unlink()
    if change != "gone":
        pack.write_bytes(held[: LARGE // 2] if change == "cut" else held)
    with pytest.raises(IntegrityError):
        machines.job.decode(data, True)


def test_the_packs_of_a_value_are_told_without_opening_it(machines: Machines) -> None:
    """So that they can be published, and spared by a clean-up."""
    assert packs_in(machines.client.encode(7)) == []
    (share,) = packs_in(machines.client.encode({1, "x" * LARGE}))
    assert LARGE < share.used <= share.pack.size
    with pytest.raises(IntegrityError):
        packs_in(b"v[[1],[[1,2]]]\nx")


@pytest.mark.heavy
def test_a_process_that_takes_the_place_of_another_goes_on_in_its_folder(
    machines: Machines,
) -> None:
    """Of a job whose item was killed: what was fetched is there, and both may be at work."""
    item = machines.client.encode(np.zeros(OBJECT_BYTES))
    assert machines.job.decode(item, False).size == OBJECT_BYTES
    machines.of_job.forget()
    again = Codec(machines.of_job, machines.scratch)
    assert again.decode(item, False).size == OBJECT_BYTES
    assert [key for _, key in machines.of_job.requests if key.startswith("packs/")] == []
    for codec in (machines.job, again):
        assert machines.client.decode(codec.encode("x" * LARGE), False) == "x" * LARGE


@pytest.mark.heavy
def test_what_a_job_stages_is_read_from_there(tmp_path: Path) -> None:
    """A container sees a folder's remote read-only, and writes to a staging folder."""
    base = FileRemote(f"file://{tmp_path}/remote")
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), base)
    (tmp_path / "staging").mkdir()
    overlay = OverlayRemote(base, FileRemote(f"file://{tmp_path}/staging"))
    array = np.arange(LARGE // 8)
    item = Codec.of(Binding.of(store, context, base)).encode((array, 1))
    job = Codec(overlay, tmp_path / "scratch")
    found = job.decode(item, False)
    data = job.encode({"sum": found[0] + 1})
    assert len([*(tmp_path / "remote/packs").iterdir()]) == 1
    assert len([*(tmp_path / "staging/packs").iterdir()]) == 1
    (share,) = packs_in(data)
    assert (tmp_path / "staging/packs" / share.pack.uuid).is_file()
    client = Codec(overlay, tmp_path / "elsewhere")
    assert same(client.decode(data, False), {"sum": array + 1})
    store.close()


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.s3
def test_large_values_go_both_ways_over_s3(
    s3_env: dict[str, str], s3_bucket: str, tmp_path: Path
) -> None:
    """In parts where they are over 8 MiB; sent once, and fetched by their digests."""
    remotes = [Counting(remote_at(f"s3://{s3_bucket}/prefix")) for _ in range(2)]
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), remotes[0])
    client = Codec.of(Binding.of(store, context, remotes[0]))
    job = Codec(remotes[1], tmp_path / "scratch")
    array = np.random.default_rng(2).random(3 * LARGE)
    remotes[0].forget()
    items = [client.encode((array, number)) for number in range(3)]
    size = array.nbytes
    assert size > PART_BYTES
    assert size < remotes[0].sent < 1.01 * size
    assert same(job.decode(items[2], False), (array, 2))
    assert size < remotes[1].received < 1.01 * size
    back = job.encode(array * 2)
    assert same(client.decode(back, False), array * 2)
    store.close()
