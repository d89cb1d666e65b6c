"""`python -m cli`, the same as `masktune`."""

from cli.main import main

main()
