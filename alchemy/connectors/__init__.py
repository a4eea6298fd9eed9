"""Source systems → `Document`: one file per source, one registry."""
