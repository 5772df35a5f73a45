"""Nodes and leaves that nobody here wrote raise IntegrityError, whatever they say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.link import Link
from bundlerun.bundles.value import decode_value, encode_value, links, outline
from bundlerun.bundles.value.files import Directory
from bundlerun.bundles.value.tables import META, read
from bundlerun.errors import IntegrityError, SettingsError
from tests.bundles.memory import Memory, absent, node
from tests.sampled import sampled

HEX = "ab" * 32
LINK = f'["{HEX}",5]'


def _root(memory: Memory, term: str) -> Link:
    return node(memory, f'{{"format":1,"value":{term}}}')


def _whole(value: Any) -> None:
    """Asks for everything that a value holds back."""
    if isinstance(value, Directory):
        _ = value.path
    elif isinstance(value, dict):
        for each in value.values():
            _whole(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _whole(each)


MALFORMED_TERMS = [
    *("1.5", "NaN", "[]", "{}", '{"x":1}', '{"list":{}}', '{"list":5}', '{"list":[],"y":1}'),
    *('{"tuple":null}', '{"dict":[1]}', '{"dict":[[1]]}', '{"dict":[[1,2,3]]}'),
    *('{"dict":[[1,2],[1,3]]}', '{"dict":[[{"list":[]},1]]}', '{"dict":[["a",1],["a",1]]}'),
    *('{"int":"5"}', '{"int":"0xZ"}', '{"int":5}', '{"int":"0x_1"}', '{"int":"0x5","y":1}'),
    *('{"decimal":"x"}', '{"decimal":"1_0"}', '{"decimal":5}', '{"decimal":" 1"}'),
    *('{"decimal":"1","y":1}', '{"dict":[[{"decimal":"sNaN"},1]]}', '{"decimal":""}'),
    '{"decimal":"1E+99999999999999999999"}',
    *('{"Counter":5}', '{"Counter":[1]}', '{"Counter":[["a",1],["a",1]]}', '{"counter":[]}'),
    *('{"Counter":[[{"list":[]},1]]}', '{"Counter":[],"y":1}'),
    '{"Counter":{"level":0,"entries":[]}}',
    *('{"float":"1.0"}', '{"float":1}', '{"float":"0x1.0p+99999"}', '{"float":null}'),
    *('{"bytes":"?"}', '{"bytes":"YQ"}', '{"bytes":5}', '{"bytes":["x",1]}', '{"bytes":"é"}'),
    *('{"surrogates":"/w=="}', '{"str":"x"}', '{"str":["a",-1]}', f'{{"str":["{HEX}",true]}}'),
    *('{"datetime":"x"}', '{"datetime":5}', '{"datetime":"2020-01-01T00:00:00","fold":2}'),
    *('{"datetime":"2020-01-01T00:00:00","zone":"../../etc/passwd"}', '{"date":"2020-99-01"}'),
    *('{"datetime":"2020-01-01T00:00:00","zone":5}', '{"time":"25:00"}', '{"timedelta":[1,2]}'),
    '{"timedelta":[1,2,3.5]}',
    *('{"datetime":"2020-01-01T00:00:00+00:00","zone":"UTC"}', '{"timedelta":[1e99,0,0]}'),
    *('{"datetime":"2020-01-01T00:00:00","zone":"a\\u0000b"}', '{"timedelta":[9999999999,0,0]}'),
    *('{"datetime":"2020-01-01T00:00:00","zone":""}', '{"time":"00:00","tzname":"x"}'),
    *(f'{{"file":{LINK}}}', f'{{"file":{LINK},"name":"../x"}}', f'{{"file":{LINK},"name":""}}'),
    *(f'{{"file":{LINK},"name":"a/b"}}', f'{{"file":{LINK},"name":5}}', '{"file":5,"name":"a"}'),
    *(f'{{"file":{LINK},"name":"a","x":1}}', f'{{"file":{LINK},"name":"\\ud800"}}'),
    *(f'{{"file":["{HEX}",5,6],"name":"a"}}', f'{{"file":["{HEX.upper()}",5],"name":"a"}}'),
    *('{"scalar":"?"}', '{"scalar":"aGVsbG8="}', '{"scalar":5}', '{"bundle":{}}', '{"bundle":5}'),
    *(f'{{"array":{LINK}}}', f'{{"table":{LINK},"as":"xml","about":[1,1]}}', '{"node":5}'),
    *(f'{{"node":{LINK}}}', f'{{"array":{LINK},"about":5}}', f'{{"table":{LINK},"as":"arrow"}}'),
    *('{"list":{"level":0,"entries":[]}}', '{"list":{"level":-1,"entries":[]}}'),
    *('{"list":{"level":99,"entries":[]}}', '{"list":{"level":true,"entries":[]}}'),
    f'{{"list":{{"level":1,"entries":[["{HEX}",5,0]]}}}}',
    f'{{"list":{{"level":1,"entries":[["{HEX}",5,-1]]}}}}',
    f'{{"list":{{"level":1,"entries":[["{HEX}",99999999999,1]]}}}}',
    f'{{"dict":{{"level":1,"entries":[["{HEX}",5]]}}}}',
    '{"directory":[],"name":"d"}',
    '{"directory":[],"name":"d","size":1}',
    '{"directory":[],"name":"d","size":"1"}',
    '{"directory":5,"name":"d","size":0}',
    '{"directory":[5],"name":"d","size":0}',
    '{"directory":[["b"],["a"]],"name":"d","size":0}',
    '{"directory":[["a"],["a"]],"name":"d","size":0}',
    '{"directory":[["A"],["a"]],"name":"d","size":0}',
    '{"directory":[["../a"]],"name":"d","size":0}',
    '{"directory":[["/a"]],"name":"d","size":0}',
    '{"directory":[["a/../../b"]],"name":"d","size":0}',
    '{"directory":[["\\ud800"]],"name":"d","size":0}',
    f'{{"directory":[["a",{absent(5)}],["a/b",{absent(5)}]],"name":"d","size":10}}',
    f'{{"directory":[["a",{absent(5)},true]],"name":"d","size":5}}',
    f'{{"directory":[["a",{absent(5)},0]],"name":"d","size":5}}',
    '{"directory":[],"name":"..","size":0}',
    '{"directory":[[]],"name":"d","size":0}',
]  # fmt: skip


@pytest.mark.parametrize("term", sampled(MALFORMED_TERMS, each=4))
def test_a_malformed_term_is_an_integrity_error(term: str, memory: Memory) -> None:
    """Alone, in a container, and in a node of its own; nothing is written outside the memory."""
    roots = [_root(memory, term), _root(memory, f'{{"list":[1,{term}]}}')]
    inner = node(memory, f'{{"term":{term}}}')
    roots.append(_root(memory, f'{{"list":[{{"node":["{inner.digest}",{inner.size}]}}]}}'))
    for root in roots:
        with pytest.raises(IntegrityError):
            _whole(decode_value(root, memory))
        for look in (lambda r: list(links(r, memory.read)), lambda r: outline(r, memory.read)):
            try:
                look(root)
            except IntegrityError:
                continue


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff", b"null", b"[]", b"{}", b'{"format":2,"value":1}', b'{"format":1}'),
        *(b'{"format":true,"value":1}', b'{"format":1,"value":1,"more":2}', b'{"value":1}'),
        b'{"format":1,"value":' + b"[" * 200_000,
        b'{"format":1,"value":' + b'{"list":[' * 200_000,
        b'{"format":1,"value":' + b"9" * 5000 + b"}",
        b'{"format":1,"value":' + b'{"list":[' * 300 + b"]}" * 300 + b"}",
    ],
    ids=range(14),
)
def test_a_malformed_root_is_an_integrity_error(data: bytes, memory: Memory) -> None:
    """No JSON, another format, nested without end: for all three readers."""
    root = node(memory, data)
    with pytest.raises(IntegrityError):
        decode_value(root, memory)
    with pytest.raises(IntegrityError):
        list(links(root, memory.read))
    if not data.startswith(b'{"format":1,"value":{"list":[{'):
        with pytest.raises(IntegrityError):
            outline(root, memory.read)


def test_a_newer_format_says_which_it_needs(memory: Memory) -> None:
    """And what to do."""
    with pytest.raises(IntegrityError, match=r"format 2.*format 1.*pip install --upgrade"):
        decode_value(node(memory, '{"format":2,"value":1}'), memory)


def test_a_node_with_other_bytes_is_refused(memory: Memory) -> None:
    """Also where the source did not look."""
    root = encode_value(list(range(1000)), memory)
    for link, _ in list(links(root, memory.read)):
        good = memory.objects[link.digest]
        memory.objects[link.digest] = good.replace(b"1", b"2")
        with pytest.raises(IntegrityError):
            decode_value(root, memory)
        memory.objects[link.digest] = good


def test_a_size_that_no_node_has_is_refused_before_reading(memory: Memory) -> None:
    """Four million bytes and one."""
    huge = Link(encode_value(1, memory).digest, 4 * 1024 * 1024 + 1)

    def never(link: Link) -> bytes:
        raise AssertionError("it was read")

    for look in (lambda: list(links(huge, never)), lambda: outline(huge, never)):
        with pytest.raises(IntegrityError):
            look()
    with pytest.raises(IntegrityError):
        decode_value(huge, memory)
    assert memory.read_links == []


def test_one_digest_of_two_sizes_is_refused(memory: Memory) -> None:
    """One of them is a lie."""
    terms = f'{{"list":[{{"file":["{HEX}",5],"name":"a"}},{{"file":["{HEX}",6],"name":"b"}}]}}'
    with pytest.raises(IntegrityError, match="5 and 6"):
        list(links(_root(memory, terms), memory.read))


def _chain(memory: Memory, levels: int, term: str) -> str:
    """A list of two equal lists of two equal lists..."""
    for _ in range(levels):
        below = node(memory, f'{{"term":{{"list":[{term},{term}]}}}}')
        term = f'{{"node":["{below.digest}",{below.size}]}}'
    return term


def test_a_small_value_cannot_unfold_without_end(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty nodes that each name the next one twice are 2**60 values; links sees sixty."""
    monkeypatch.setattr("bundlerun.bundles.value.decode.MAX_VALUES", 10_000)
    root = _root(memory, _chain(memory, 60, "1"))
    assert len(list(links(root, memory.read))) == 61
    outline(root, memory.read)
    with pytest.raises(IntegrityError, match="more than"):
        decode_value(root, memory)


def test_nesting_through_nodes_is_counted(memory: Memory) -> None:
    """A thousand nodes deep is too deep, and no stack runs out."""
    root = _root(memory, _chain(memory, 1000, "1"))
    with pytest.raises(IntegrityError, match="deeper than"):
        decode_value(root, memory)
    assert len(list(links(root, memory.read))) == 1001


def test_counts_that_lie_are_refused(memory: Memory) -> None:
    """A node says how many entries it has, and the one above says it too."""
    leaf = node(memory, '{"level":0,"entries":[1,2]}')
    for count in (1, 3):
        term = f'{{"list":{{"level":1,"entries":[["{leaf.digest}",{leaf.size},{count}]]}}}}'
        with pytest.raises(IntegrityError, match="does not have the entries"):
            decode_value(_root(memory, term), memory)
    term = f'{{"list":{{"level":2,"entries":[["{leaf.digest}",{leaf.size},2]]}}}}'
    with pytest.raises(IntegrityError):
        decode_value(_root(memory, term), memory)
    with pytest.raises(IntegrityError):
        list(links(_root(memory, term), memory.read))


def test_a_node_of_nothing_but_a_node_is_refused(memory: Memory) -> None:
    """Else a chain of them would hide from the depth."""
    inner = node(memory, '{"term":1}')
    outer = node(memory, f'{{"term":{{"node":["{inner.digest}",{inner.size}]}}}}')
    root = _root(memory, f'{{"node":["{outer.digest}",{outer.size}]}}')
    for look in (lambda: decode_value(root, memory), lambda: list(links(root, memory.read))):
        with pytest.raises(IntegrityError):
            look()


def test_an_unknown_time_zone_says_what_to_install(memory: Memory) -> None:
    """It may be a newer one than this machine's."""
    for zone in ("Mars/Olympus", "Europe"):
        root = _root(memory, f'{{"datetime":"2020-01-01T00:00:00","zone":"{zone}"}}')
        with pytest.raises(SettingsError, match="pip install --upgrade tzdata"):
            decode_value(root, memory)


def _leaf(memory: Memory, data: bytes, term: str) -> Link:
    link = memory.put_bytes(data)
    return _root(memory, term.replace("LINK", f'["{link.digest}",{link.size}]'))


def _thaws_or_fails(memory: Memory, root: Link) -> None:
    for mapping in ("file", "buffer", "none"):
        memory.mapping = mapping
        try:
            decode_value(root, memory)
        except (IntegrityError, SettingsError):
            continue


ARRAY = '{"array":LINK,"about":["<i8",[3]]}'


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (-3,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<i8', 'fortran_order': 0, 'shape': (3,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': 5, 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': " + "(" * 5000,
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,) * 99}",
        "{'descr': '<i8'}",
        "__import__('os').abort()",
        "",
    ],
)
def test_an_array_that_lies_is_refused(header: str, memory: Memory) -> None:
    """Before anything of the said size is made; Python objects are never unpickled."""
    data = header.encode().ljust(70) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(24)
    root = _leaf(memory, npy, ARRAY)
    for mapping in ("file", "none"):
        memory.mapping = mapping
        with pytest.raises(IntegrityError):
            decode_value(root, memory)


def _cut_and_flipped(data: bytes, places: Iterable[int]) -> Iterable[bytes]:
    for place in places:
        at = place % len(data)
        yield data[:at]
        yield data[:at] + bytes([data[at] ^ (1 + place % 255)]) + data[at + 1 :]


@given(st.lists(st.integers(0, 1 << 20), min_size=5, max_size=5))
@pytest.mark.heavy
def test_damaged_leaves_never_raise_anything_else(memory: Memory, places: list[int]) -> None:
    """Cut off or changed at any place: a value or an IntegrityError."""
    frames: list[Any] = [
        np.array([(1, "x")], dtype=[("a", "i4"), ("b", "U3")]),
        pd.DataFrame(
            {"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])},
            index=pd.date_range("2020", periods=2, tz="UTC"),
        ),
        pl.DataFrame({"a": ["x", None], "b": [[1], []]}),
        pa.table({"a": ["x", None], "b": [[1], []]}),
    ]
    for value in frames:
        root = encode_value(value, memory)
        term = json.loads(memory.read(root))["value"]
        (leaf,) = [link for link, is_node in links(root, memory.read) if not is_node]
        kind = next(iter(term))
        text = json.dumps(term | {kind: "LINK"}).replace('"LINK"', "LINK")
        for data in _cut_and_flipped(memory.objects[leaf.digest], places):
            _thaws_or_fails(memory, _leaf(memory, data, text))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize(
    "meta",
    sampled(
        [
            *(
                "",
                "null",
                "[]",
                "{}",
                "5",
                '"x"',
                '{"dtypes":[]}',
                '{"dtypes":["Object"],"series":0}',
            ),
            *('{"dtypes":["__class__"],"series":false}', '{"dtypes":[{"Enum":5}],"series":false}'),
            '{"dtypes":[{"Array":["Int8",-1]}],"series":false,"rows":1}',
            '{"columns":[{"numpy":"<i8"}],"index":{"range":[0,9,1],"names":[null]},"attrs":{"dict":[]}}',
            '{"columns":[{"numpy":"|O"}],"index":{"range":[0,1,1],"names":[null]},"attrs":{"dict":[]}}',
            '{"columns":[{"nullable":"x"}],"index":{"range":[0,1,1],"names":[null]},"attrs":{}}',
            '{"columns":[{"objects":"cells"}],"index":{"range":[0,1,0],"names":[null]},"attrs":{}}',
            '{"columns":[{"unit":"s","zone":{"pytz":"../x"}}],"index":{"range":[0,1,1],"names":[]}}',
            *(
                f'{{"columns":[{spec}],"index":{{"range":[0,1,1],"names":[null]}},"attrs":{{"dict":[]}},'
                '"unique":false,"labels":{"range":[0,1,1],"names":[null]}}'
                for spec in (
                    *(
                        '{"period":"x"}',
                        '{"period":5}',
                        '{"period":null}',
                        '{"nullable":"Float64"}',
                    ),
                    *('{"interval":[],"closed":"left"}', '{"interval":[{"numpy":"<i8"},5]}'),
                    *(
                        '{"unit":"s","zone":{"offset_us":[1e99]}}',
                        '{"unit":"s","zone":{"offset_us":5}}',
                    ),
                    '{"unit":"s","zone":{"offset_us":[0,5]}}',
                    '{"categories":{"numpy":"<i8"},"ordered":false,"name":{"x":1}}',
                )
            ),
            *(
                f'{{"columns":[{{"numpy":"<i8"}}],"index":{{"range":[0,1,1],"names":[null]}},'
                f'"attrs":{{"dict":[["k",{cell}]]}},"unique":false,'
                '"labels":{"range":[0,1,1],"names":[null]}}'
                for cell in (
                    *(
                        '{"pandas":5}',
                        '{"pandas":"Timestamp"}',
                        '{"pandas":["Timestamp","x",null]}',
                    ),
                    *(
                        '{"pandas":["Period","x","D"]}',
                        '{"pandas":["Period",5,"x"]}',
                        '{"pandas":[]}',
                    ),
                    *('{"pandas":["Interval",1,0,"left"]}', '{"pandas":["Interval",1]}'),
                    *('{"pandas":["Timedelta"]}', '{"pandas":["Timedelta","x"]}', '{"Counter":5}'),
                )
            ),
            '{"columns":[],"index":{"levels":[{"arrow":"AAAA","names":[]}],"names":[null]}}',
        ],
        each=4,
    ),
)
def test_a_malformed_description_of_a_frame_is_an_integrity_error(
    meta: str, kind: str, memory: Memory
) -> None:
    """The Arrow file is fine, what it says of the frame is not."""
    table = pa.table({"a": [1]}).replace_schema_metadata({META: meta})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    root = _leaf(memory, data, f'{{"table":LINK,"as":"{kind}","about":[1,1]}}')
    with pytest.raises(IntegrityError):
        decode_value(root, memory)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_compressed_tables_are_refused_before_they_unfold(
    codec: str, dictionary: bool, tmp_path: Path
) -> None:
    """A few KB of them can be gigabytes."""
    column = pa.array(["x" * 1000] * 1000)
    table = pa.table({"a": column.dictionary_encode() if dictionary else column})
    path = tmp_path / "table"
    with pa.ipc.new_file(
        path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)
    ) as writer:
        writer.write_table(table)
    for form in (path, path.read_bytes()):
        with pytest.raises(IntegrityError, match="compressed"):
            read(form)


def test_a_leaf_of_another_length_is_refused(memory: Memory, tmp_path: Path) -> None:
    """Also when it is mapped."""
    root = encode_value(np.arange(3), memory)
    (leaf,) = [link for link, is_node in links(root, memory.read) if not is_node]
    path = memory.file(leaf, "leaf", False)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(IntegrityError, match="bytes, not"):
        decode_value(root, memory)
