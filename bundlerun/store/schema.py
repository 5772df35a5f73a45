"""The tables of a store's one SQLite file.

A bundle's ``rank`` orders the committed versions of a name, so that the latest is one look at an
index: the version number for what the remote holds, ``UNPUSHED`` and up in commit order for this
machine's own, far below zero for what came from the remote without a version number. It is NULL
for uncommitted bundles and for versions that the remote gave up. Rank, version and what else a row
says of the remote are of the one to which the context is bound; ``elsewhere`` has the others.
"""

from __future__ import annotations

FORMAT = "4"
"""The version of these tables; another one is refused."""

NEEDS = "0.1"
"""The first version of bundlerun that reads this format, written into each store."""

UNPUSHED = 1 << 40
"""The first rank of own versions, above every version number (9,999,999,999)."""

UNNUMBERED = -(1 << 60)
"""Added to the arrival number of what the remote holds without a version."""

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE contexts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    url TEXT,
    uuid TEXT
);

CREATE TABLE objects (
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    data BLOB,  -- NULL: the bytes are in a local pack or, where pack is NULL too, in objects/
    pack INTEGER REFERENCES local_packs (id),
    offset INTEGER,  -- in the pack
    stamp BLOB,  -- of a file in objects/: as it was when it was made, or hashed last
    added_s INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))  -- Unix seconds
);
CREATE INDEX objects_pack ON objects (pack) WHERE pack IS NOT NULL;

CREATE TABLE local_packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,  -- the file packs/<uuid> of the store, in the remote's format
    size INTEGER NOT NULL,
    index_length INTEGER NOT NULL
);

CREATE TABLE uploads (
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,  -- the large object that is on its way in parts
    pack TEXT NOT NULL,  -- the uuid of the pack that it is to be
    upload TEXT NOT NULL,  -- the remote's name of what is under way
    begun_s INTEGER NOT NULL,  -- time.time()
    PRIMARY KEY (remote, digest)
) WITHOUT ROWID;

CREATE TABLE stats (  -- what files outside the store held when they were read
    file BLOB NOT NULL UNIQUE,  -- the first 16 bytes of the stamp: device and inode
    stamp BLOB NOT NULL,
    digest BLOB NOT NULL,
    parts BLOB  -- of a large file: the object with the digests of its parts
);

CREATE TABLE copies (  -- the large files in files/, as they were when they were made
    folder TEXT NOT NULL,  -- right below files/
    path TEXT NOT NULL,  -- below it
    stamp BLOB NOT NULL,
    PRIMARY KEY (folder, path)
) WITHOUT ROWID;

CREATE TABLE bundles (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival in this store
    context INTEGER NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    record BLOB NOT NULL,  -- the bundle's JSON with its tags of now
    record_sha BLOB,  -- the record's SHA-256: SQLite itself does not notice rotten bytes
    committed INTEGER NOT NULL,
    pushed INTEGER NOT NULL,  -- the remote holds the record
    hidden INTEGER NOT NULL DEFAULT 0,  -- the remote gave the version up
    version INTEGER,
    rank INTEGER,
    record_digest TEXT,  -- of the record as it stands on the remote
    task TEXT,
    request TEXT,
    UNIQUE (context, id)
);
CREATE INDEX bundles_rank ON bundles (context, name, rank);
CREATE INDEX bundles_seq ON bundles (context, name, seq);
CREATE INDEX bundles_scratch ON bundles (context, name, seq) WHERE committed = 0;
CREATE INDEX bundles_unpushed ON bundles (context, name, rank) WHERE committed = 1 AND pushed = 0;
CREATE INDEX bundles_task ON bundles (context, task, seq) WHERE task IS NOT NULL;
CREATE INDEX bundles_request ON bundles (context, request, seq) WHERE request IS NOT NULL;

CREATE TABLE pushed_records (  -- the records of bundles byte by byte as they stand on remotes
    bundle INTEGER NOT NULL REFERENCES bundles (seq) ON DELETE CASCADE,
    digest TEXT NOT NULL,  -- of record
    record BLOB NOT NULL,
    PRIMARY KEY (bundle, digest)
) WITHOUT ROWID;

CREATE TABLE inner_bundles (  -- what pipes at work made, until the outermost of them has ended
    bundle INTEGER PRIMARY KEY REFERENCES bundles (seq) ON DELETE CASCADE,
    scope TEXT NOT NULL,  -- the pipes around it, the outermost first
    added_s INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))  -- Unix seconds
);
CREATE INDEX inner_scope ON inner_bundles (scope);

CREATE TABLE tags (
    bundle INTEGER NOT NULL REFERENCES bundles (seq) ON DELETE CASCADE,
    context INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    sent INTEGER NOT NULL,  -- 0: set after the bundle was made, and the remote does not know
    PRIMARY KEY (bundle, key)
) WITHOUT ROWID;
CREATE INDEX tags_value ON tags (context, key, value, bundle);
CREATE INDEX tags_unsent ON tags (context, bundle) WHERE sent = 0;

CREATE TABLE heads (
    context INTEGER NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    remote TEXT NOT NULL,  -- its uuid; '': the context was never bound
    name TEXT NOT NULL,
    newest INTEGER NOT NULL,  -- highest version number seen on the remote
    PRIMARY KEY (context, remote, name)
) WITHOUT ROWID;

CREATE TABLE given_up (
    context INTEGER NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    remote TEXT NOT NULL,  -- as in heads
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (context, remote, name, version)
) WITHOUT ROWID;

CREATE TABLE elsewhere (  -- where bundles stand on remotes that their context is not bound to
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    bundle INTEGER NOT NULL REFERENCES bundles (seq) ON DELETE CASCADE,
    version INTEGER,
    hidden INTEGER NOT NULL,
    record_digest TEXT,
    tags TEXT NOT NULL,  -- JSON: those that the remote knows
    PRIMARY KEY (bundle, remote)
) WITHOUT ROWID;

CREATE TABLE remotes (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    url TEXT,  -- where it was when a context was last bound to it
    window_s REAL  -- of the remote's own record; NULL: not read yet
);

CREATE TABLE condemned (  -- packs that may be gone: read from, never built upon
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    pack TEXT NOT NULL,
    PRIMARY KEY (remote, pack)
) WITHOUT ROWID;

CREATE TABLE epochs (  -- the remote's lists of condemned packs that are in the table above
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (remote, epoch)
) WITHOUT ROWID;

CREATE TABLE packs (
    id INTEGER PRIMARY KEY,
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    uuid TEXT NOT NULL,
    size INTEGER NOT NULL,
    index_length INTEGER NOT NULL,
    UNIQUE (remote, uuid)
);

CREATE TABLE members (
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    pack INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (remote, digest)
) WITHOUT ROWID;

CREATE TABLE roots (
    remote INTEGER NOT NULL REFERENCES remotes (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    packs TEXT NOT NULL,  -- JSON: in which packs the whole value lies
    PRIMARY KEY (remote, digest)
) WITHOUT ROWID;

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    context INTEGER NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,  -- raised by every change: compare-and-set
    settled INTEGER NOT NULL,  -- nothing is left to be done for it
    state TEXT NOT NULL,
    kind TEXT NOT NULL,  -- what the run is made of: "pipe"
    submitted_s REAL,  -- Unix seconds
    json TEXT NOT NULL,
    UNIQUE (context, id)
);
CREATE INDEX runs_seq ON runs (context, seq);
CREATE INDEX runs_unsettled ON runs (context, seq) WHERE settled = 0;

CREATE TABLE images (name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
"""
