"""The local stack: everything the DAG needs, on one machine, without Docker. Run as ``python -m local``."""
