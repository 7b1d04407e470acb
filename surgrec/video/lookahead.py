"""Packets read a little ahead of the decoder, so that their times answer questions before anything is decoded.

In: the packets of a stream from a seek on. Out: the packets from the first keyframe on, and which frame is on display when.
It is its own file because it is the pure half of reading by time: it knows order and times, no pixels and no seeking.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator

from av.packet import Packet

from surgrec.video.container import is_shown, presentation_time
from surgrec.video.errors import VideoError


class Lookahead:
    """The packets from the first that `is_landing` on, read ahead as far as questions about the order of times need.

    `key_ticks`: when that keyframe is shown. Frames shown before it belong to an earlier keyframe and are not counted.
    Raises `VideoError` where no keyframe follows or packets carry no times.
    """

    def __init__(self, packets: Iterator[Packet], is_landing: Callable[[Packet], bool]) -> None:
        self._packets = packets
        self._queue: deque[Packet] = deque()
        self._shown: list[int] = []  # sorted presentation times of the packets read and not forgotten
        self._newest = -(2**62)  # decoding time of the newest packet; all frames shown before it have been read
        self._is_complete = False
        self.key_ticks = self._land(is_landing)

    def _land(self, is_landing: Callable[[Packet], bool]) -> int:
        for packet in self._packets:
            if is_landing(packet):
                key_ticks = presentation_time(packet)
                self._accept(packet, key_ticks)
                return key_ticks
        raise VideoError("no_frames", "there is no keyframe to start from")

    def _accept(self, packet: Packet, key_ticks: int) -> None:
        self._queue.append(packet)
        if packet.size == 0:
            self._is_complete = True
            return
        if packet.dts is not None:  # Matroska leaves the first ones of a reordered stream empty
            self._newest = max(self._newest, packet.dts)
        ticks = presentation_time(packet)
        if is_shown(packet) and ticks >= key_ticks:
            insort(self._shown, ticks)

    def _read_until(self, ticks: int) -> None:
        """Read until every frame shown up to `ticks` is known."""
        while not self._is_complete and self._newest <= ticks:
            self._accept(next(self._packets), self.key_ticks)

    def shown_at(self, ticks: int) -> int | None:
        """The time of the frame on display at `ticks`, None where that is before the first."""
        self._read_until(ticks)
        index = bisect_right(self._shown, ticks)
        return self._shown[index - 1] if index else None

    def next_after(self, ticks: int) -> int | None:
        """The time of the first frame shown after `ticks`, None at the end."""
        self._read_until(ticks)
        while (index := bisect_right(self._shown, ticks)) == len(self._shown) and not self._is_complete:
            self._accept(next(self._packets), self.key_ticks)
        if index == len(self._shown):
            return None
        self._read_until(self._shown[index])
        return self._shown[bisect_right(self._shown, ticks)]

    def is_last(self, ticks: int) -> bool:
        """Whether the end has been reached and nothing is shown after `ticks`."""
        return self._is_complete and (not self._shown or self._shown[-1] <= ticks)

    def forget_before(self, ticks: int) -> None:
        del self._shown[: bisect_left(self._shown, ticks)]

    def pop(self) -> Packet:
        if not self._queue:
            self._accept(next(self._packets), self.key_ticks)
        return self._queue.popleft()
