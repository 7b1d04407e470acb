"""Entry points of torch.hub: `torch.hub.load(REPOSITORY, "load_model", RELEASE)`.

In: a release, as `surgrec.load_model` takes it. Out: an encoder, its preprocessing, or a model of timm. It is its own file because
torch.hub looks for exactly this one, in the root of a repository or, with `source="local"`, of any folder that has it.
"""

from __future__ import annotations

from typing import Any as _Any  # torch.hub takes every public callable for an entry

dependencies = ["av", "einops", "numpy", "safetensors", "timm", "torch"]


def load_model(release: _Any, **options: _Any) -> _Any:
    """The pair of encoder and preprocessing: see `surgrec.load_model`."""
    import surgrec

    return surgrec.load_model(release, **options)


def encoder(release: _Any, **options: _Any) -> _Any:
    """The encoder alone: tokens (B, N, D) of a normalised video (B, C, T, H, W)."""
    return load_model(release, **options)[0]


def timm_model(release: _Any, name: str = "surgrec_vit", **options: _Any) -> _Any:
    """The encoder as a model of timm, such as `surgrec_vit_base_mae`: see `surgrec.hub.timm_models`."""
    import surgrec.hub.timm_models  # noqa: F401  # isort: skip  (registers the names, after torchvision is made importable)
    import timm  # isort: skip

    return timm.create_model(name, release=release, **options)
