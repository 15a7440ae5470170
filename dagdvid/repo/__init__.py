"""Versions and instances: the graph, the repo record, staging, snapshots, transactions, commit, diff."""
