"""Users' objects that depend on a table."""
