"""The set-up script, the constraints, MWAA's install step, declared imports, the Makefile."""
