"""Bytes to values and back, for the formats that other programs speak."""
