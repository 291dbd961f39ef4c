holdfast tenant create acme
holdfast tenant create acme/dev
printf 'name,email\nAda,ada@example.org\nGrace,grace@example.org\n' > people.csv
printf '%s\n' '{"name":"Ada L.","email":"ada@example.org"}' > more.jsonl
printf '%s\n' '[{"name":"Mary","email":"mary@example.org"}]' > all.json
