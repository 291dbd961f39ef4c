holdfast tenant create acme
holdfast key create acme --name website --scope read
ID() { holdfast review list --json | jq -r .id | head -1; }
ITEM() { holdfast review show "$(ID)" --json | jq -r 'select(.kind == "key").id' | head -1; }
