"""How one tensor is stored: as float32, as codes of a codebook for all or for each channel, dithered, as sums of
points, or as what a mask keeps; with a factor for each channel, where one is needed; codes in as many bits each, or by
Huffman's code.

Each encoding rebuilds its tensor bit for bit (``decode``), and goes to bytes and back (``write``, ``read``). What a
reader must know before the bytes — shape, width, kind of mask — is the *layout*, a small JSON list beside them.
"""

from edgepress.encodings.base import MAX_ENTRIES, Dense, Encoding, Exact, Reader, Scaled, Sparse, as_it_is, read
from edgepress.encodings.channels import MultiPoint, PerChannel
from edgepress.encodings.codes import Dithered, Quantized
from edgepress.encodings.huffman import Huffman

__all__ = [
    "MAX_ENTRIES",
    "Dense",
    "Dithered",
    "Encoding",
    "Exact",
    "Huffman",
    "MultiPoint",
    "PerChannel",
    "Quantized",
    "Reader",
    "Scaled",
    "Sparse",
    "as_it_is",
    "read",
]
