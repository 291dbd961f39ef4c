#replace https://acme.example.org => http://acme.localhost:8090
#replace https://example.org => http://127.0.0.1:8090
holdfast tenant create acme
printf '%s\n' '{"package":"zlib","section":"libs","installed_size":5}' | holdfast import acme packages - --create
mkdir snapshots
holdfast target add local "file://$PWD/snapshots"
ID() { holdfast key list acme --json | jq -r 'select(.state == "active").id' | head -1; }
OPERATION() { holdfast operation list --json | jq -r .id | head -1; }
