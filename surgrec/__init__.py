"""surgrec: self-supervised video pretraining on surgical footage.

Importing the package is cheap (no torch): everything heavy is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]

if TYPE_CHECKING:
    from surgrec.hub.load import load_model


def __getattr__(name: str) -> Any:
    """Load public names on first use (PEP 562), so that ``import surgrec`` stays under a second."""
    if name == "load_model":
        from surgrec.hub.load import load_model

        return load_model
    raise AttributeError(f"module 'surgrec' has no attribute {name!r}")
