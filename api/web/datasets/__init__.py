"""Pages about data sets."""
