"""dagdvid: a DVID server on a content-addressed Merkle-DAG store."""

__all__ = ["__version__"]

__version__ = "0.1.0"
