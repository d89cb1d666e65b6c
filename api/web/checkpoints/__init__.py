"""Pages about checkpoints."""
