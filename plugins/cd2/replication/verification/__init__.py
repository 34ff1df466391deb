"""Whether a table is equal to a snapshot, value by value, although both move: `verifier` is the module to read first.

May import everything in `cd2.replication` but `waits`; the replicator, which asks and loads for it, is passed in.
"""
