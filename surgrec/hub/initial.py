"""Starting a run from weights that exist: `init=FAMILY:PATH`.

In: a freshly built encoder and where weights lie. Out: the encoder with those weights, all of them or none. It is its own file because
it is where families of weights meet a run: each has its own reader, and none may load in part.
"""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.hub.load import load_release
from surgrec.models.encoder import Encoder

FAMILIES = ("surgrec",)
# Positions follow the clip, and the first draw of weights is overwritten: these may differ.
_FREE = ("num_frames", "height_pixels", "width_pixels", "init")


def start_from(encoder: Encoder, init: str) -> None:
    """Give `encoder` the weights that `init` names, `surgrec:PATH` with PATH a release folder or its name on the hub.

    Raises `UserError` for an unknown family, and where the release is of an encoder that computes something else, if only in its
    number of heads, which weights of equal shapes would hide.
    """
    family, has_path, path = init.partition(":")
    if family not in FAMILIES or not has_path or not path:
        raise UserError(
            f"init={init} is not FAMILY:PATH with a known family ({', '.join(FAMILIES)}); write init=surgrec:RELEASE"
        )
    found = load_release(path).encoder
    theirs, ours = found.architecture, encoder.architecture
    names = [name for name in ours if name not in _FREE and ours[name] != theirs[name]]
    if names:
        differing = ", ".join(f"{name} is {theirs[name]}, not {ours[name]}" for name in names)
        raise UserError(
            f"init={init} does not fit this run's encoder: its {differing}; choose backbone= options to match"
        )
    encoder.load_state_dict(found.state_dict(), strict=True)
