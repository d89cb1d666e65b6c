"""A job's numbered log, as pages and as server-sent events."""
