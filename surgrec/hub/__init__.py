"""Weights that come and go: releases of ours, checkpoints of others, models of transformers.

Importing this package is cheap: torch and transformers are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["from_transformers", "to_transformers"]

if TYPE_CHECKING:
    from surgrec.hub.huggingface import from_transformers, to_transformers


def __getattr__(name: str) -> Any:
    """Load public names on first use (PEP 562)."""
    if name in __all__:
        from surgrec.hub import huggingface

        return getattr(huggingface, name)
    raise AttributeError(f"module 'surgrec.hub' has no attribute {name!r}")
