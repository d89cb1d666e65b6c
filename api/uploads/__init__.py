"""Uploads: bytes that came in."""
