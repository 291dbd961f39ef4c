package identity

import "holdfast/data/system"

// keyMigrations come after migrations, whose api_keys they add to.
var keyMigrations = []system.Migration{{Name: "rotation, rate, permissions, disabling", SQL: `
ALTER TABLE api_keys ADD COLUMN permissions TEXT NOT NULL DEFAULT '[]'; -- JSON; of a key of the control plane
ALTER TABLE api_keys ADD COLUMN rate INTEGER NOT NULL DEFAULT 0;        -- requests a minute; 0: the default
ALTER TABLE api_keys ADD COLUMN predecessor TEXT NOT NULL DEFAULT '';   -- the key that this one follows
ALTER TABLE api_keys ADD COLUMN successor TEXT NOT NULL DEFAULT '';     -- the key that follows this one
ALTER TABLE api_keys ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN enabled INTEGER NOT NULL DEFAULT 0;     -- when it was last enabled again
ALTER TABLE api_keys ADD COLUMN last_address TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;      -- days before the end that were last warned of
CREATE INDEX api_keys_expires ON api_keys (expires);
`}}
