printf '%s\n' '{"package":"zlib","section":"libs","size":5}' '{"package":"nano","section":"editors","size":7}' > packages.jsonl
