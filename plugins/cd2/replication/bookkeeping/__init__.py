"""What is kept about the tables: the official client's `instructure_dap`, and our own `cd2`.

May import `database` and the leaf modules of `cd2.replication`.
"""
