"""Logic of the HTTP service that needs no Serve: accounts, sessions, metrics."""
