"""Evidence and draft → a cited answer, or an honest refusal."""
