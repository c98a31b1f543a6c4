"""Content codings, decoded by reference libraries: zlib, Brotli's and zstd's own."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import zstandard

#: A whole body, by the name of its coding.
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def incremental(coding: str) -> Callable[[bytes], bytes]:
    """A function that decodes a stream piece by piece, and gives all that each piece completes."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        decompressor = brotli.Decompressor()
        return lambda data: bytes(decompressor.process(data))
    return zstandard.ZstdDecompressor().decompressobj().decompress
