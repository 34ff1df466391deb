"""A job's objects into the table: streamed, staged, and applied in one transaction.

May import `schema` and the leaf modules of `cd2.replication`; the job and the session are handed in.
"""
