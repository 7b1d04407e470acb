"""The attentive probe: a learned query pools the tokens of a frozen encoder, then a linear layer classifies.

In: tokens (n, N, D), labels, a split by group. Out: a fitted probe. It is its own file because, unlike the probes on pooled features,
it is trained by gradient steps: averaging all tokens hides what only a few of them see, which matters for encoders whose objective
never asked for a global summary (Bardes et al. 2024, V-JEPA, arXiv 2404.08471, section 4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrec.core import rng
from surgrec.evaluation.metrics import balanced_accuracy, confusion
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class AttentiveSettings:
    """How the probe is trained; the learning rate is the one of the grid that scores best on validation rows."""

    num_heads: int = 8
    num_steps: int = 300
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    weight_decay: float = 0.05
    warmup_share: float = 0.1


class AttentiveProbe(nn.Module):
    """Tokens (b, N, D) to logits (b, C): layer norm, cross-attention by one query, residual MLP, linear."""

    def __init__(self, width: int, num_classes: int, num_heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.norm_tokens = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm_pooled = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        keys = self.norm_tokens(tokens)
        pooled = self.attention(self.query.expand(len(tokens), -1, -1), keys, keys, need_weights=False)[0][:, 0]
        pooled = pooled + self.mlp(self.norm_pooled(pooled))
        return self.head(self.norm_out(pooled))

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens (n, N, D) to logits (n, C), a few at a time."""
        return torch.cat([self(some.float()) for some in torch.split(tokens, 64)])

    def predict(self, tokens: Tensor) -> Tensor:
        """Tokens (n, N, D) to classes (n,), a few at a time."""
        return self.logits(tokens).argmax(1)


def fit_attentive_probe(
    tokens: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int, settings: AttentiveSettings | None = None
) -> AttentiveProbe:
    """Train on train rows of tokens (n, N, D) and labels (n,), choose on validation rows; test rows are not looked at."""
    settings = settings or AttentiveSettings()
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    best, best_score = None, -1.0
    for learning_rate in settings.learning_rates:
        probe = train_attentive_probe(tokens[train], labels[train], num_classes, learning_rate, seed, settings)
        predictions = probe.predict(tokens[validation])
        counts = confusion(labels[validation].cpu().numpy(), predictions.cpu().numpy(), num_classes)
        score = float(balanced_accuracy(counts))
        if score > best_score:
            best, best_score = probe, score
    assert best is not None, "there is no learning rate"
    return best


def train_attentive_probe(
    tokens: Tensor, labels: Tensor, num_classes: int, learning_rate: float, seed: int, settings: AttentiveSettings
) -> AttentiveProbe:
    """A probe of tokens (n, N, D) and labels (n,); first weights and batches are the same for all learning rates."""
    start = _initial_probe(tokens.shape[-1], num_classes, seed, settings).to(tokens.device)
    return _train(start, tokens, labels.long(), learning_rate, seed, settings)


def _initial_probe(width: int, num_classes: int, seed: int, settings: AttentiveSettings) -> AttentiveProbe:
    """The same weights for the same seed, whatever torch's global generator holds, which is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.words(seed, "attentive-probe-weights", 0, lanes=1)[0] >> np.uint64(1)))
        return AttentiveProbe(width, num_classes, math.gcd(settings.num_heads, width))


def _train(
    probe: AttentiveProbe, tokens: Tensor, labels: Tensor, learning_rate: float, seed: int, settings: AttentiveSettings
) -> AttentiveProbe:
    optimizer = torch.optim.AdamW(probe.parameters(), lr=learning_rate, weight_decay=settings.weight_decay)
    batch_size = min(settings.batch_size, len(tokens))
    for step in range(settings.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule(step, settings)
        order = rng.uniforms(seed, "attentive-probe-batch", step, lanes=len(tokens))
        rows = torch.from_numpy(np.argpartition(order, batch_size - 1)[:batch_size])
        loss = functional.cross_entropy(probe(tokens[rows].float()), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return probe.eval()


def _schedule(step: int, settings: AttentiveSettings) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0."""
    warmup_steps = max(1, round(settings.warmup_share * settings.num_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, settings.num_steps - warmup_steps)))
