"""What PostgreSQL's errors mean, and which of their texts may be quoted.

May import nothing of `cd2`: everything that meets an error of PostgreSQL uses it.
"""
