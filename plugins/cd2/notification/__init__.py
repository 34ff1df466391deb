"""The message about a run: its content, its text, and its delivery.

May import `cd2.replication` (names, results, errors) and `cd2.settings`, but not `cd2.tasks`.
"""
