"""Loads a finished job into its table: streamed, staged, and applied in one transaction.

May import `schema` and the leaf modules of `cd2.replication`; the job and the session are passed in.
"""
