"""The web pages: a folder per noun with its endpoints, its view and its templates, over the API's own services."""
