"""The one error the local stack shows to people."""


class LocalStackError(Exception):
    """Something a person must know or do, said in one sentence: what is wrong, where, what to do."""
