-- First schema. `obj` is what is, `ev` is what happened; both change in one transaction.
-- Times, labels and the rest are inside `body`, which is the object as JSON: query it with json_extract.

CREATE TABLE obj (
    kind      TEXT    NOT NULL,
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    uid       TEXT    NOT NULL UNIQUE,
    rv        INTEGER NOT NULL,
    labels    TEXT    NOT NULL, -- a copy out of body, so that selectors need not parse it
    body      TEXT    NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;

CREATE TABLE owner (
    owner_uid TEXT NOT NULL,
    uid       TEXT NOT NULL, -- the dependent
    PRIMARY KEY (owner_uid, uid)
) WITHOUT ROWID;
CREATE INDEX owner_by_dependent ON owner (uid);

CREATE TABLE ev (
    rv   INTEGER PRIMARY KEY AUTOINCREMENT, -- resourceVersion
    type TEXT    NOT NULL,                  -- ADDED, MODIFIED or DELETED
    kind TEXT    NOT NULL,
    body TEXT    NOT NULL
);

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('floor', 0); -- a watch can start at this version or later
