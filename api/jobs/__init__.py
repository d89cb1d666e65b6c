"""MaskTune jobs."""
