holdfast tenant create acme
KEY() { holdfast audit verify --json | jq -r '.verifierKeys[0]'; }
