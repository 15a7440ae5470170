"""Versions and instances: the graph, the repo record, staging, snapshots (read) and transactions (write), commit, diff."""
