"""The DAP service: the official client's session, turns under its rate limits, and jobs.

May import `database` and the leaf modules of `cd2.replication` (errors, failures, names, results).
"""
