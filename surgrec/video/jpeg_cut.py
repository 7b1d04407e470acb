"""The part of a JPEG that is wanted, as a smaller JPEG.

In: the bytes of a JPEG with restart markers (ITU-T T.81, B.2.4.4), as many in every row of blocks, and a rectangle. Out: bytes. It is its
own file because it knows JPEG and nothing of packs: what lies between two markers can be decoded alone, so the pieces under the
rectangle are put together to a picture of their own, and the rest is never decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from surgrec.video.decode import Region

_BLOCK = 16  # pixels of a side of the least that can be decoded, with the colours at half the size
_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
_MARKERS = [b"\xff" + bytes([0xD0 + number]) for number in range(8)]
_START_OF_FRAME, _RESTART_INTERVAL, _START_OF_SCAN, _END = 0xC0, 0xDD, 0xDA, b"\xff\xd9"
_BLEED = 2  # pixels: a coloured pixel depends on those next to it, as colours are stored at half the size
_WANTED_BLOCKS = 4  # between two markers: fewer cut finer and cost more bytes


def blocks_between_markers(width_pixels: int) -> int:
    """How many blocks of 16 pixels lie between two markers: at least four, and the same number in all pieces of a row."""
    in_row = -(-width_pixels // _BLOCK)
    return next(
        blocks for blocks in range(1, in_row + 1) if in_row % blocks == 0 and blocks >= min(_WANTED_BLOCKS, in_row)
    )


@dataclass(frozen=True)
class Cut:
    """How to cut JPEGs that begin with the bytes `header`: `pieces_in_row` pieces of `piece_pixels`, in rows of 16."""

    header: bytes
    size_at: int  # where the header has height and width
    pieces_in_row: int
    piece_pixels: int

    @classmethod
    def of(cls, data: bytes) -> Cut | None:
        """None for a JPEG that cannot be cut."""
        position, size_at, width, interval, sampling = 2, 0, 0, 0, 0
        while position + 4 <= len(data) and data[position] == 0xFF:
            kind, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
            if kind == _START_OF_FRAME and length >= 17:
                size_at, sampling = position + 5, data[position + 11]
                width = int.from_bytes(data[position + 7 : position + 9], "big")
            if kind == _RESTART_INTERVAL:
                interval = int.from_bytes(data[position + 4 : position + 6], "big")
            position += 2 + length
            if kind == _START_OF_SCAN:
                break
        blocks = -(-width // _BLOCK)
        if sampling != 0x22 or not interval or blocks % interval:
            return None
        return cls(data[:position], size_at, blocks // interval, interval * _BLOCK)

    def cut(self, data: bytes, height: int, width: int, region: Region) -> tuple[bytes, Region] | None:
        """A JPEG of the pieces that hold `region` of a picture `height` by `width`, and the region in it.

        None where the picture is not in as many pieces as it should be: it is damaged.
        """
        first_row = max(region.top - _BLEED, 0) // _BLOCK
        stop_row = -(-min(region.top + region.height + _BLEED, height) // _BLOCK)
        first = max(region.left - _BLEED, 0) // self.piece_pixels
        stop = -(-min(region.left + region.width + _BLEED, width) // self.piece_pixels)
        pieces = _MARKER.split(data[len(self.header) : -len(_END)])
        if len(pieces) != self.pieces_in_row * -(-height // _BLOCK) or not data.startswith(self.header):
            return None
        top, left = first_row * _BLOCK, first * self.piece_pixels
        size = min(stop_row * _BLOCK, height) - top, min(stop * self.piece_pixels, width) - left
        parts = [self.header[: self.size_at], struct.pack(">HH", *size), self.header[self.size_at + 4 :]]
        number = 0
        for row in range(first_row, stop_row):
            for piece in pieces[row * self.pieces_in_row + first : row * self.pieces_in_row + stop]:
                parts += (piece, _MARKERS[number % 8])
                number += 1
        parts[-1] = _END
        return b"".join(parts), Region(region.top - top, region.left - left, region.height, region.width)
