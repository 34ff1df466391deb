"""Connections to the replica, locks on its tables, and the official client over our connection.

May import the leaf modules of `cd2.replication` only.
"""
