"""Our engine, the official client and psql's COPY side by side (`make bench`): python -m benchmarks --help."""
