"""Constraints and code that people put on our tables: what a load does about them, and how it names them.

Imports dependents, schema and what is below them; the load calls it.
"""
