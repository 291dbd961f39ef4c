#replace file:///mnt/backup/holdfast => "file://$PWD/disk" --region eu-central-1
#replace 's3://bucket/prefix?endpoint=https://s3.example.org&region=eu-central-1' => "file://$PWD/offsite" --region eu-central-1
#replace 2026-11-16T08:00:00Z => "$(newest)"
#replace "10m ago" => "$(newest)"
#replace k3j2m8xq0a1b4c5 => "$(record)"
mkdir disk offsite
holdfast tenant create acme
printf '%s\n' '{"article":"pencil"}' '{"article":"paper"}' | holdfast import acme orders - --create
newest() { holdfast snapshot list acme --json | jq -r .time | sort | tail -1; }
record() { holdfast export acme orders | jq -r .id | head -1; }
ID() { holdfast restore acme --list --json | jq -r 'select(.kind == "in_place" and .state == "kept").id' | head -1; }
