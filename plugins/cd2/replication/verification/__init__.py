"""Whether a table is equal to a snapshot, value by value, although both move: `verifier` is the module to read first.

A verification asks and loads by the replicator, which does not know it.
"""
