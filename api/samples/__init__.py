"""What a job found, image by image."""
