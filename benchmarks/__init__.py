"""Benchmarks: each module here has `run(quick) -> list[Row]`; `python -m benchmarks` runs them and prints one table."""
