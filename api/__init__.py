"""The HTTP service: binds route tables to Quart, and knows nothing of stored bytes."""
