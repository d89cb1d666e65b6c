"""Data sets and their images."""
