"""Stored events as files: what `headrace export` writes."""
