"""What a finished job found, for its page, for comparisons and for the report."""
