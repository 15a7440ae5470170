"""The store on one machine: append-only packs for objects, SQLite for everything small (SPEC 4)."""
