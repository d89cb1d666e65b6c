"""What a job's models relied on."""
