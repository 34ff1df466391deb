"""What a table must look like, which DDL is missing, and how to alter the table while people use it.

May import `dependents`, `database` and the leaf modules of `cd2.replication`.
"""
