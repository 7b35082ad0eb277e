-- Times are Unix milliseconds, digests 32 bytes.
CREATE TABLE plugin_name(
    name            TEXT PRIMARY KEY,
    sequence_max    INTEGER NOT NULL CHECK (sequence_max >= 0), -- never falls, survives removals
    sequence_digest BLOB NOT NULL CHECK (length(sequence_digest) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin(
    digest       BLOB PRIMARY KEY CHECK (length(digest) = 32),
    name         TEXT NOT NULL REFERENCES plugin_name(name),
    version      TEXT NOT NULL,
    world        TEXT NOT NULL,
    publisher    TEXT NOT NULL,
    sequence     INTEGER NOT NULL CHECK (sequence >= 0),
    wasm_bytes   INTEGER NOT NULL CHECK (wasm_bytes >= 0),
    published_ms INTEGER NOT NULL CHECK (published_ms >= 0),
    UNIQUE (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE model(
    name         TEXT PRIMARY KEY,
    version_last INTEGER NOT NULL CHECK (version_last >= 0) -- never falls, survives removals
) STRICT, WITHOUT ROWID;

CREATE TABLE model_version(
    model          TEXT NOT NULL REFERENCES model(name),
    version        INTEGER NOT NULL CHECK (version > 0),
    state          TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'failed', 'removed')),
    reason         TEXT NOT NULL DEFAULT '',
    fixture_report TEXT,
    digest         BLOB NOT NULL CHECK (length(digest) = 32),
    bytes          INTEGER NOT NULL CHECK (bytes >= 0),
    published_ms   INTEGER NOT NULL CHECK (published_ms >= 0),
    PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_file(
    model   TEXT NOT NULL,
    version INTEGER NOT NULL,
    name    TEXT NOT NULL,
    bytes   INTEGER NOT NULL CHECK (bytes >= 0),
    sha256  BLOB NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (model, version, name),
    FOREIGN KEY (model, version) REFERENCES model_version(model, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE model_lock(
    model   TEXT NOT NULL,
    version INTEGER NOT NULL,
    step    TEXT NOT NULL,
    plugin  BLOB NOT NULL REFERENCES plugin(digest),
    PRIMARY KEY (model, version, step),
    FOREIGN KEY (model, version) REFERENCES model_version(model, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX model_lock_plugin ON model_lock(plugin);

CREATE TABLE label(
    model   TEXT NOT NULL,
    label   TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (model, label),
    FOREIGN KEY (model, version) REFERENCES model_version(model, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_version ON label(model, version);

CREATE TABLE label_event(
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    model    TEXT NOT NULL REFERENCES model(name),
    label    TEXT NOT NULL,
    action   TEXT NOT NULL CHECK (action IN ('set', 'rollback', 'remove')),
    version  INTEGER,
    previous INTEGER,
    at_ms    INTEGER NOT NULL CHECK (at_ms >= 0),
    undone   INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1)) -- a `set` that a rollback took back
) STRICT;
CREATE INDEX label_event_label ON label_event(model, label, id);
