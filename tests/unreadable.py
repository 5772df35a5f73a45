"""Bundles as an earlier bundlerun kept them: with a table that nobody can read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from bundlerun.bundles.lineage import Lineage
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


def latin_1(rows: int = 2) -> Any:
    """A table whose text column ``city`` has Latin-1 in its last row."""
    text = pa.array([b"x" * 10] * (rows - 1) + [b"caf\xe9"])
    return pa.table({"n": range(rows), "city": text.view(pa.string())})


def keep(store: Store, context: Context, name: str, table: Any) -> Entry:
    """A committed bundle of ``table``, whatever Arrow thinks of it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    leaf = store.objects.put_bytes(sink.getvalue().to_pybytes())
    link = f'"{leaf.digest}",{leaf.size}' + (f',"{leaf.parts}"' if leaf.parts else "")
    about = f'"as":"arrow","about":[{table.num_rows},{table.num_columns}]'
    root = store.objects.put_bytes(f'{{"format":1,"value":{{"table":[{link}],{about}}}}}'.encode())
    bundle = BundleRecord(new_id(), name, root, {}, {}, Lineage(pipe="a.B"))
    return store.add_root(context, bundle, commit=True)
