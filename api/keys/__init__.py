"""API keys: made, rotated and revoked by keys of scope `admin`."""
