"""The HTTP API. Imports no torch."""
