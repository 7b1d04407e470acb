"""What a benchmark says of its machine, and how it leaves its result: a page for people, and the numbers for programs.

In: the device that was measured; text and rows. Out: words; `NAME_DATE.md` and `NAME_DATE.json`, each whole or absent. It is its own file
because results are compared over months, so all must say alike where they come from.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from surgrec.core.atomic import write_text


def cpu_name() -> str:
    """As the system lists it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not a Linux
        lines = []
    found = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or "unknown CPU")


def machine(device: str) -> str:
    """Cores, threads, the GPU's name or the processor's kind, torch."""
    import torch  # not above: some benchmarks measure the memory of a process without it

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {name}, torch {torch.__version__}"


def goal_lines(goals: Mapping[str, tuple[str, float]]) -> list[str]:
    """A table in Markdown: what was wanted, and what came out."""
    rows = [f"| {goal} | {wanted} | {measured:.2f} |" for goal, (wanted, measured) in goals.items()]
    return ["| goal | wanted | measured |", "|---|---|---|", *rows]


def write_result(stem: Path, text: str, content: Mapping[str, object] | Sequence[object]) -> None:
    """`stem`.md and `stem`.json; the folder is made."""
    write_text(stem.with_name(f"{stem.name}.md"), text)
    write_text(stem.with_name(f"{stem.name}.json"), json.dumps(content, indent=1) + "\n")
