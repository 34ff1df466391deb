"""The message about a run: what it is made of, what it says, and how it is sent.

May import `cd2.replication` (names, results, errors) and `cd2.settings`; nothing of `cd2.tasks`.
"""
