"""Data sets: the normalised archive, its index, and batches for training and evaluation."""
