"""Overlays drawn with NumPy and Pillow, without torch."""
