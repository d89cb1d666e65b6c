"""Webhooks: who is told of jobs' events, and what was told."""
