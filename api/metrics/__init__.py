"""A job's numbers."""
