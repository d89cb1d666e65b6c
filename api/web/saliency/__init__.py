"""The saliency browser: a job's images, what the models looked at, and what was masked."""
