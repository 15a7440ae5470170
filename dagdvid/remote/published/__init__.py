"""Published stores (SPEC 8.5 to 8.10): versions as plain files that any server of static files can serve."""
