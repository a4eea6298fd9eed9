"""Ray actors: thin shells around `alchemy`, one file per agent."""
