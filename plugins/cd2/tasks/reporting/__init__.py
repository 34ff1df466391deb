"""What a run tells people: the results of its tables, the notification, the callbacks of failed and late runs.

May import `cd2.tasks.credentials` and what all of `cd2.tasks` may; the operators and the DAG import it.
"""
