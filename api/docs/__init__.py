"""The API's reference for a browser, at /docs."""
