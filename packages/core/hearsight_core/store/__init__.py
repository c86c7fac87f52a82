"""PostgreSQL, the truth: the only place with SQL.

Every public function here is one transaction; what it changes and what it refuses stands in its
docstring. Locks are taken in one order, the job's row before its tasks', so that no two
transactions can wait for each other.
"""
