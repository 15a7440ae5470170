"""Bytes in, hashes out: ids, encodings, stores, and in `tree/` the prolly tree. Knows no datatype and no HTTP."""
