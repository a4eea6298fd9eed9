"""The joint release: its record, its evaluation, its gate."""
