"""Chunks → verified instruction/response pairs."""
