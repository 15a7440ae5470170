"""The prolly tree (SPEC 5): an ordered, immutable map of bytes to bytes whose root depends on its entries alone.

One verb a module: `read` (get, get_many, scan, count), `edit` (apply), `diff`, `merge`, `check`; `node` is the format,
`splitter` the boundary rule, `builder` writes nodes, `nodes` reads and caches them, `walker` steps through a tree.
"""
