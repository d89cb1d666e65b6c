"""Charts as SVG, drawn by the server: no script is needed, and colours follow the theme by class."""
