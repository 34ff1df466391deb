"""The replica, in a real PostgreSQL."""
