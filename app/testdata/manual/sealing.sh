mkdir offsite
holdfast tenant create acme
holdfast target add offsite "file://$PWD/offsite"
ID() { holdfast keys status --json | jq -r '.slots[] | select(.kind == "shares").id'; }
