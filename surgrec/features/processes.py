"""One extraction by several processes, each with its own model and its own part of the videos.

In: settings, videos, how many processes. Out: what became of the videos. It is its own file because here processes start, die and are
waited for. They need nothing of each other: a process is a shard of the shard, and what it writes is what one process would.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from surgrec.core.console import Advance
from surgrec.core.cores import usable_cores
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.features.extraction import Outcome, plan_work, run_work
from surgrec.features.extractor import Extractor
from surgrec.features.origin import Origin
from surgrec.features.settings import Settings
from surgrec.features.store import claim_store
from surgrec.features.videos import Video


@dataclass(frozen=True)
class _Failed:
    """Why a process ended: what the user must mend, or a traceback."""

    message: str
    is_the_users: bool


def readers_for(settings: Settings, num_processes: int = 1) -> int:
    """How many units one process decodes at once. On a GPU as many as threads; beside an encoder on the CPU one, since more would only take
    turns with it."""
    if not settings.device.startswith("cuda"):
        return 1
    return max(1, settings.num_threads // num_processes)


def run_shard(
    settings: Settings,
    extractor: Extractor,
    origin: Origin,
    videos: Sequence[Video],
    shard: tuple[int, int],
    advance: Advance,
    num_readers: int,
    is_shared: bool,
) -> Outcome:
    """Compute one part in this process."""
    store = claim_store(settings.out, settings.file_format, origin, is_shared)
    return run_work(
        extractor, store, plan_work(extractor, store, videos, settings.keep_short, shard), advance, num_readers
    )


def run_processes(
    settings: Settings, videos: Sequence[Video], shard: tuple[int, int], num_processes: int, advance: Advance
) -> Outcome:
    """Compute the part `shard` in `num_processes` processes: on the GPUs in turn, or sharing the cores.

    Raises `UserError` where one of them ended before its work: what the others did is kept.
    """
    context = multiprocessing.get_context("spawn")
    outcome, failures, open_pipes, started = Outcome(), list[_Failed](), list[Connection](), []
    try:
        for number in range(num_processes):
            receiver, sender = context.Pipe(duplex=False)
            part = (shard[0] + shard[1] * number, shard[1] * num_processes)
            arguments = (settings, list(videos), part, number, num_processes, sender)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            sender.close()
            open_pipes.append(receiver)
            started.append(process)
        while open_pipes:
            for pipe in wait(open_pipes):
                assert isinstance(pipe, Connection)
                message = _received(pipe)
                if isinstance(message, tuple):
                    advance(*message)
                    continue
                open_pipes.remove(pipe)
                if isinstance(message, Outcome):
                    outcome.merge(message)
                else:
                    failures.append(message)
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.join()
    _raise_failures(failures, num_processes)
    return outcome


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return _Failed("it was killed", is_the_users=False)


def _raise_failures(failures: list[_Failed], num_processes: int) -> None:
    for failed in failures:
        if failed.is_the_users:
            raise UserError(failed.message)
    if failures:
        raise UserError(
            f"{len(failures)} of {counted(num_processes, 'process')} ended before the work was done "
            f"({failures[0].message}); run the same command again to continue"
        )


def _work(
    settings: Settings, videos: list[Video], part: tuple[int, int], number: int, num_processes: int, pipe: Connection
) -> None:
    """What one process does. It ends when its parent is gone: whoever starts the work again must find it alone."""
    parent = os.getppid()

    def advance(count: int = 1, note: str = "") -> None:
        if os.getppid() != parent:
            os._exit(1)
        pipe.send((count, note))

    try:
        torch.set_num_threads(max(1, usable_cores() // num_processes))
        readers = readers_for(settings, num_processes)
        extractor, origin = settings.build(_device(settings.device, number), readers)
        pipe.send(run_shard(settings, extractor, origin, videos, part, advance, readers, is_shared=True))
    except UserError as error:
        pipe.send(_Failed(str(error), is_the_users=True))
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as error:
        traceback.print_exc()
        pipe.send(_Failed(type(error).__name__, is_the_users=False))


def _device(device: str, number: int) -> str:
    """The GPU of a process, where "cuda" leaves that open."""
    count = torch.cuda.device_count()
    return f"cuda:{number % count}" if device == "cuda" and count else device
