#replace people 4d6k2m9q0x1z3b5 => people "$(record)"
holdfast tenant create acme
holdfast tenant create shop
printf '%s\n' '{"name":"Ada"}' | holdfast import shop people - --create
printf '%s\n' '{"author":"4d6k2m9q0x1z3b5","text":"hello"}' | holdfast import shop messages - --create
record() { holdfast export shop people | jq -r .id | head -1; }
KEY() { holdfast audit verify --json | jq -r '.verifierKeys[0]'; }
