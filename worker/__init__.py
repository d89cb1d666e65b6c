"""Celery workers that claim jobs and supervise a fresh trainer process for each attempt."""
