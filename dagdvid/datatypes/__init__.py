"""The built-in datatypes, one folder each, and the few modules that they share."""
