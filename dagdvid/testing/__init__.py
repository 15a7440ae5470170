"""Conformance suites that ship: what any store must pass."""
