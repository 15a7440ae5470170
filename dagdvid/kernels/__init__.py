"""Hot loops on arrays, each with a plain `_ref` twin that says what it computes."""
