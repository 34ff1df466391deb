"""What a table should look like, what its DDL lacks, and how it is altered while people use it.

May import `dependents`, `database` and the leaf modules of `cd2.replication`.
"""
