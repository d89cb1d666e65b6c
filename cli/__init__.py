"""The `masktune` command."""
