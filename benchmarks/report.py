"""What a benchmark says of its machine, and how it leaves its result: a page for people, and the numbers for programs.

In: the device that was measured; text and rows. Out: words; `NAME_DATE.md` and `NAME_DATE.json`, each whole or absent. It is its own file
because results are compared over months, so all must say alike where they come from.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch

from surgrec.core.atomic import write_text


def cpu_name() -> str:
    """As the system lists it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def machine(device: str) -> str:
    """Cores, threads, the GPU's name or the processor's kind, torch."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {name}, torch {torch.__version__}"


def write_result(stem: Path, text: str, content: dict[str, object]) -> None:
    """`stem`.md and `stem`.json; the folder is made."""
    write_text(stem.with_name(f"{stem.name}.md"), text)
    write_text(stem.with_name(f"{stem.name}.json"), json.dumps(content, indent=1) + "\n")
