"""Telling webhooks of events: from the log to messages, and from messages to receivers."""
