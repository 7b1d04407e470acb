"""MS-TCN: stages of dilated convolutions over the features of a whole operation (Farha & Gall 2019, arXiv 1903.01945).

In: features (B, T, D) of recordings of several lengths, padded, and which moments are real. Out: logits of every stage. It is its own
file because padding and causality are properties of the layers alone, and are tested on them:

* what is behind the end of a recording is zero before every convolution, as if the recording stood alone, so its predictions do not
  depend on what it is batched with;
* the causal head pads on the left only, so no moment sees a later one (online recognition; Czempiel et al. 2020, TeCNO, arXiv
  2003.10751). The other one sees all of the operation (offline recognition).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TemporalHead(nn.Module):
    """The first stage reads features of width D, the others the probabilities of the stage before; each has `num_layers` layers.

    With 10 layers a moment is decided by 1023 moments on either side, or 2046 before it where `is_causal`, per stage.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        num_stages: int = 4,
        num_layers: int = 10,
        channels: int = 64,
        dropout: float = 0.5,
        is_causal: bool = False,
    ) -> None:
        super().__init__()
        widths = [width] + [num_classes] * (num_stages - 1)
        self.stages = nn.ModuleList(
            _Stage(each, num_classes, num_layers, channels, dropout, is_causal) for each in widths
        )

    def forward(self, features: Tensor, is_real: Tensor) -> Tensor:
        """Features (B, T, D) and `is_real` (B, T) to logits (S, B, T, C) of all S stages, the last one's last; padding gives zeros."""
        mask = is_real[:, None].to(features.dtype)
        values = features.transpose(1, 2) * mask
        outputs = []
        for stage in self.stages:
            logits = stage(values, mask)
            outputs.append(logits)
            values = logits.softmax(1) * mask
        return torch.stack(outputs).transpose(-1, -2)


class _Stage(nn.Module):
    def __init__(
        self, width: int, num_classes: int, num_layers: int, channels: int, dropout: float, is_causal: bool
    ) -> None:
        super().__init__()
        self.enter = nn.Conv1d(width, channels, 1)
        self.layers = nn.ModuleList(_DilatedLayer(channels, 2**i, dropout, is_causal) for i in range(num_layers))
        self.leave = nn.Conv1d(channels, num_classes, 1)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        values = self.enter(values) * mask
        for layer in self.layers:
            values = layer(values, mask)
        return self.leave(values) * mask


class _DilatedLayer(nn.Module):
    """x + conv1(relu(dilated conv3(x))), the same length."""

    def __init__(self, channels: int, dilation: int, dropout: float, is_causal: bool) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.pointwise = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.padding = (2 * dilation, 0) if is_causal else (dilation, dilation)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        inner = functional.relu(self.dilated(functional.pad(values, self.padding)))
        return (values + self.dropout(self.pointwise(inner))) * mask


def temporal_loss(
    logits: Tensor, labels: Tensor, is_real: Tensor, smoothing: float = 0.15, threshold: float = 4.0
) -> Tensor:
    """Sum over stages of cross-entropy and `smoothing` times the truncated mean squared error of log-probabilities, equations 8 to 12.

    `logits` (S, B, T, C), `labels` (B, T) with -1 for none, `is_real` (B, T). Both means are over all moments, and all pairs of
    neighbours, of all recordings; steps of log-probability above `threshold` count as that, and the earlier moment of a pair is not moved
    by the second mean.
    """
    total = logits.new_zeros(())
    is_pair = (is_real[:, 1:] & is_real[:, :-1])[..., None]
    num_pairs = (is_pair.sum() * logits.shape[-1]).clamp(min=1)
    for stage in logits:
        cross_entropy = functional.cross_entropy(stage.flatten(0, 1), labels.flatten(), ignore_index=-1)
        log_probabilities = stage.log_softmax(-1)
        steps = (log_probabilities[:, 1:] - log_probabilities[:, :-1].detach()).square().clamp(max=threshold**2)
        total = total + cross_entropy + smoothing * (steps * is_pair).sum() / num_pairs
    return total
