"""Push, pull and clone between servers: only what differs travels, and nothing counts before it is verified."""
