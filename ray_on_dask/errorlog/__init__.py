"""The error log: what failed in the cluster, kept in Redis, where any process can read it.

Losing Redis loses no more than errors: nothing else in the package waits for it.
"""
