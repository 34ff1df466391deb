"""Tables and rows as pure functions of a seed: column types, typed values, a table through time, its rows as lines.

Keeps nothing and serves nothing; imports only `local.simulator.catalogue` and `local.simulator.errors`.
"""
