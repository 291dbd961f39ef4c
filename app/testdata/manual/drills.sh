#replace 2026-01-31T12:00:00Z => "$(newest)"
mkdir offsite
holdfast tenant create acme
printf '%s\n' '{"article":"pencil"}' | holdfast import acme orders - --create
holdfast target add offsite "file://$PWD/offsite"
for store in acme system vault; do holdfast snapshot now $store; done
newest() { holdfast snapshot list acme --json | jq -r .time | sort | tail -1; }
ID() { holdfast drill list acme --json | jq -r .id | head -1; }
KEY() { holdfast audit verify --json | jq -r '.verifierKeys[0]'; }
