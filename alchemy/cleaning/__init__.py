"""Redaction, deduplication, chunking and metrics: batch in, batch out; `spark` holds the plan."""
