-- Every model release that was ever admitted, under whatever serving name; outlives its versions.
CREATE TABLE model_release(
    name     TEXT NOT NULL,                               -- publisher/name
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    digest   BLOB NOT NULL CHECK (length(digest) = 32),   -- of what was signed
    PRIMARY KEY (name, sequence)
) STRICT, WITHOUT ROWID;
