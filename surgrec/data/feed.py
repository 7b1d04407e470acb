"""From the memory of this machine to that of the device, while the device is at work on the batch before.

In: the batches of a loader. Out: the same, with their pixels on the device. It is its own file because it is the one place of the data
path that knows a device. A thread takes a batch as soon as the one before was asked for, lays its frames, still uint8, side by side in
page-locked memory, and has them copied in one piece on a stream of its own; so the copy waits for no kernel of the training step and
no kernel for it. What the step does with them (`augment`) waits on the device, not here, until they have arrived.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from surgrec.data.clips import Clip
from surgrec.data.loader import ClipBatch, LoaderChain


class _Moved(NamedTuple):
    """A batch on its way, and what the stream that uses it must do first."""

    batch: ClipBatch
    await_arrival: Callable[[], object]


class DeviceFeed:
    """Iterates a loader's batches with their pixels on `device`; one batch is on its way while another is used.

    Attributes:
        seconds_waiting: total time the caller has waited for batches; it only grows.

    Raises, while iterating, what the loader raises.
    """

    def __init__(self, loader: LoaderChain, device: torch.device) -> None:
        self.loader, self.device = loader, device
        self.seconds_waiting = 0.0
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[ClipBatch]:
        self.close()
        room = threading.Semaphore(1)  # batches that may be on their way
        moved: queue.SimpleQueue[_Moved | BaseException | None] = queue.SimpleQueue()
        self._is_closed = False
        self._room = room
        self._thread = threading.Thread(target=self._move_all, args=(room, moved), name="device-feed", daemon=True)
        self._thread.start()
        while True:
            began = time.perf_counter()
            item = moved.get()
            self.seconds_waiting += time.perf_counter() - began
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            item.await_arrival()
            room.release()
            yield item.batch

    def close(self) -> None:
        """End the loader and the thread."""
        self._is_closed = True
        self.loader.close()
        if self._thread is not None:
            self._room.release()
            self._thread.join()
            self._thread = None

    def _move_all(self, room: threading.Semaphore, moved: queue.SimpleQueue[_Moved | BaseException | None]) -> None:
        """The thread: `None` after the last batch, an exception in the place of one that could not be read."""
        try:
            mover = _Mover(self.device)
            room.acquire()
            if self._is_closed:
                return
            for batch in self.loader:
                if self._is_closed:
                    return
                moved.put(mover.move(batch))
                room.acquire()
                if self._is_closed:
                    return
            moved.put(None)
        except BaseException as error:  # whose place is in the caller's thread
            moved.put(error)


class _Mover:
    """Copies batches to the device, on a stream of its own where it has streams."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            torch.cuda.set_device(device)  # of this thread: or page-locking would open the first device of the machine
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def move(self, batch: ClipBatch) -> _Moved:
        packed = _packed([clip.pixels for clip in batch.clips], is_pinned=self.stream is not None)
        if self.stream is None:
            return _Moved(_with_pixels(batch, packed.to(self.device)), lambda: None)
        with torch.cuda.stream(self.stream):
            arrived = packed.to(self.device, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()

        def await_arrival() -> None:
            user = torch.cuda.current_stream(self.device)
            user.wait_event(event)
            arrived.record_stream(user)  # its memory is reused only after what this stream does with it

        return _Moved(_with_pixels(batch, arrived), await_arrival)


def _packed(parts: Sequence[torch.Tensor], is_pinned: bool) -> torch.Tensor:
    """All values of uint8 tensors, one after another (n,)."""
    whole = torch.empty(sum(part.numel() for part in parts), dtype=torch.uint8, pin_memory=is_pinned)
    return torch.cat([part.reshape(-1) for part in parts], out=whole) if len(parts) else whole


def _with_pixels(batch: ClipBatch, packed: torch.Tensor) -> ClipBatch:
    """The batch whose clips are views of `packed`."""
    parts = torch.split(packed, [clip.pixels.numel() for clip in batch.clips])
    clips: list[Clip] = [
        replace(clip, pixels=part.view(clip.pixels.shape)) for clip, part in zip(batch.clips, parts, strict=True)
    ]
    return replace(batch, clips=clips)
