"""What is noted about the tables: in the official client's `instructure_dap`, and in our own `cd2`.

May import `schema`, `database` and the leaf modules of `cd2.replication`.
"""
