"""Checkpoints that users bring."""
