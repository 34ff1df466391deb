"""What people hung on a replicated table: saved, dropped and restored around a schema change.

May import the leaf modules of `cd2.replication` only.
"""
