holdfast tenant create acme
for name in mia ben bob; do holdfast operator create $name@example.org --role billing --password-stdin; done
ID() { holdfast invite list --tenant acme --json | jq -r .id | head -1; }
