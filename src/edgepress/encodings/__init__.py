"""Encodings of a tensor: float32; codes of a per-tensor or per-channel codebook; dithered; sums of vectors; the entries
kept by a mask; optionally with a factor per channel, and with codes of fixed width or Huffman-coded.

Each encoding decodes its tensor bit for bit (``decode``), and converts to bytes and back (``write``, ``read``). The
*layout*, a small JSON list, holds what a reader must know before the bytes: shape, width, kind of mask.
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
