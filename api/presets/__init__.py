"""Presets and the configuration's schema."""
