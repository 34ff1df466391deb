"""Our engine, the official client and psql side by side (`make bench`): python -m benchmarks --help."""
