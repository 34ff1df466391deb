"""The connection to the replica, the locks of its tables, and the official client over our connection.

May import the leaf modules of `cd2.replication` only.
"""
