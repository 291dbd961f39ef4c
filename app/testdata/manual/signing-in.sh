holdfast tenant create acme
holdfast operator create mia@example.org --password-stdin
