"""The DAP service: the official client's session, turns at its limits, and jobs.

May import `database` and the modules of `cd2.replication` that import no package (errors, failures, names, results).
"""
