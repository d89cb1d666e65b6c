"""Files that a job made."""
