"""Whether a table is equal to a snapshot, value by value, although both move: `verifier` is the module to read first.

May import `load`, `dap`, `bookkeeping`, `schema` and the leaf modules of `cd2.replication`.
"""
