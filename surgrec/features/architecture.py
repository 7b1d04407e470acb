"""What an encoder computes, apart from its weights.

In: an encoder of any library. Out: plain values that change where it would compute something else. It is its own file because a digest of
weights cannot tell two models apart that differ in heads, in a norm's epsilon, or in the version of the library that runs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from torch import nn

_LIBRARIES = ("timm", "transformers")
_PLAIN = (bool, int, float, str)


def architecture_of(encoder: nn.Module) -> dict[str, Any]:
    """Plain values: the encoder's own `architecture` where it has one, else a digest of the kinds and settings of all its modules."""
    own = getattr(encoder, "architecture", None)
    return dict(own) if isinstance(own, Mapping) else {"modules": _digest(encoder)}


def libraries_of(encoder: nn.Module) -> dict[str, str]:
    """Versions of the libraries whose code computes it, by name; without what tells builds for a CPU from those for a GPU."""
    kinds = {type(module).__module__.partition(".")[0] for module in encoder.modules()}
    return {name: release_of(name) for name in ("torch", *(each for each in _LIBRARIES if each in kinds))}


def release_of(library: str) -> str:
    """Its version, such as 2.6.0 of 2.6.0+cpu."""
    return version(library).partition("+")[0]


def _digest(encoder: nn.Module) -> str:
    """Of each module its place, its class and its settings, which libraries keep as plain attributes."""
    digest = hashlib.sha256()
    for name, module in encoder.named_modules():
        settings = {
            key: value
            for key, value in vars(module).items()
            if key != "training" and (isinstance(value, _PLAIN) or _is_plain_tuple(value))
        }
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()} {sorted(settings.items())}\n".encode())
    return digest.hexdigest()[:32]


def _is_plain_tuple(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, _PLAIN) for each in value)
