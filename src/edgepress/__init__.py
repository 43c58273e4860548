"""edgepress: what a network loses, and what a device gains, when it is stored in b bits by method X."""

__version__ = "0.1.0"
