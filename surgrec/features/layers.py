"""What an encoder computes within, by the names of its layers, and what is kept of it.

In: an encoder and names such as `blocks.5`. Out: tokens of those layers. It is its own file because names and shapes of layers are the
one thing in which encoders of different libraries differ.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surgrec.core.errors import UserError

_SHOWN = 12


class Layers:
    """Calls an encoder and gives what the layers `names` put out; the encoder's own output where there are no names.

    A layer is a submodule of the encoder, as `named_modules` lists it; `blocks.5` is the sixth block, before the final norm. Raises
    `UserError` for a name that the encoder does not have, and for a layer whose output is not a feature for each token.
    """

    def __init__(self, encoder: nn.Module, names: Sequence[str] = ()) -> None:
        self.encoder, self.names = encoder, tuple(names)
        known = dict(encoder.named_modules())
        for name in self.names:
            if name not in known or not name:
                listed = [each for each in known if each and each.count(".") <= 1][:_SHOWN]
                raise UserError(f"the encoder has no layer {name!r}; it has {', '.join(listed)} and others")
        if len(set(self.names)) < len(self.names):
            raise UserError(f"--layers names one twice: {', '.join(self.names)}")
        self._modules = [known[name] for name in self.names]

    def __call__(self, video: Tensor) -> list[Tensor]:
        """Tokens (B, N, D) of each layer for a video (B, C, T, H, W)."""
        if not self.names:
            return [self.encoder(video)]
        outputs: dict[int, Any] = {}
        thread = threading.get_ident()  # other threads may call the same encoder

        def keep(key: int, output: Any) -> None:
            if threading.get_ident() == thread:
                outputs[key] = output

        hooks = [
            module.register_forward_hook(lambda _module, _inputs, output, key=key: keep(key, output))
            for key, module in enumerate(self._modules)
        ]
        try:
            tokens = self.encoder(video)
        finally:
            for hook in hooks:
                hook.remove()
        batch, num_tokens = tokens.shape[:2]
        prefix = int(getattr(self.encoder, "num_prefix_tokens", 0))
        return [_tokens(name, outputs.get(key), batch, num_tokens, prefix) for key, name in enumerate(self.names)]


def _tokens(name: str, output: Any, batch: int, num_tokens: int, num_prefix: int) -> Tensor:
    """A layer's output as (B, N, D): as it is, or of frames that went through the encoder one by one, behind prefix tokens."""
    output = output[0] if isinstance(output, tuple) and output else output
    if isinstance(output, Tensor) and output.is_floating_point() and output.ndim == 3:
        rows, length, width = output.shape
        if (rows, length) == (batch, num_tokens):
            return output
        if rows % batch == 0 and (length - num_prefix) * rows == batch * num_tokens:
            return output[:, num_prefix:].reshape(batch, num_tokens, width)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise UserError(
        f"the layer {name} puts out {shape}, which is no feature for each of {num_tokens} tokens; name a whole block instead"
    )


def pooled(tokens: Tensor, layout: str, num_time_steps: int) -> Tensor:
    """Tokens (B, N, D), those of a time step side by side, to float32 (B, D), (B, t, D) or (B, N, D) for the layouts pooled, time, all."""
    tokens = tokens.float()
    match layout:
        case "pooled":
            return tokens.mean(1)
        case "time":
            return tokens.unflatten(1, (num_time_steps, -1)).mean(2)
    return tokens


def autocast(precision: str, device: str) -> torch.autocast:
    """The context in which an encoder computes in `precision`; float32 is its own."""
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    return torch.autocast(torch.device(device).type, dtype, enabled=precision != "float32")
