holdfast tenant create acme
