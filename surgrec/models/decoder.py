"""The masked autoencoder's decoder: from context tokens to the pixels that were hidden.

In: encoded context tokens, the ids of context and target tokens, the grid. Out: pixel values (B, M, P). It is its own file
because it belongs to one objective and is thrown away after training (Tong et al. 2022, arXiv 2203.12602, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.attention import AttentionBackend
from surgrec.models.block import NORM_EPS, stack
from surgrec.models.init import InitScheme, init_weights
from surgrec.models.positions import SinCosStyle, added_table, check_position_grid


class Decoder(nn.Module):
    """A narrow transformer over context tokens and one learned mask token per target (VideoMAE-B: 384 wide, 4 deep, 6 heads).

    Context and target tokens get the fixed sin-cos positions of their ids in the whole grid, of the given style; `position_grid` as in
    `Encoder`. `final_norm_eps` is `norm_eps` unless given: transformers' port has another one in the last norm.
    """

    def __init__(
        self,
        *,
        encoder_width: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        tubelet: int = 2,
        patch: int = 16,
        channels: int = 3,
        positions: SinCosStyle = "sincos",
        position_grid: Sequence[int] | None = None,
        norm_eps: float = NORM_EPS,
        final_norm_eps: float | None = None,
        attention_backend: AttentionBackend = "sdpa",
        activation_checkpointing: bool = False,
        init: InitScheme = "xavier",
    ) -> None:
        super().__init__()
        self.width, self.positions, self.init_scheme = width, positions, init
        self.position_grid = None if position_grid is None else check_position_grid(position_grid, positions)
        self.norm_eps = norm_eps
        self.final_norm_eps = norm_eps if final_norm_eps is None else final_norm_eps
        self.embed = nn.Linear(encoder_width, width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = stack(
            depth,
            width,
            num_heads,
            mlp_ratio,
            qkv_bias="qv",
            norm_eps=norm_eps,
            attention_backend=attention_backend,
            activation_checkpointing=activation_checkpointing,
        )
        self.norm = nn.LayerNorm(width, eps=self.final_norm_eps)
        self.head = nn.Linear(width, channels * tubelet * patch**2)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all parameters anew; the mask token as VideoMAE does, its truncated normal cut at one standard deviation."""
        init_weights(self, self.init_scheme)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(self, context_tokens: Tensor, context_ids: Tensor, target_ids: Tensor, grid: TokenGrid) -> Tensor:
        """Predict the target patches from context tokens (B, K, D): (B, M, P), row m for token `target_ids[:, m]`.

        `context_ids` (B, K) and `target_ids` (B, M), int64, count in `grid`. The P values of a patch are in VideoMAE's
        order, frame, row, column, channel: `patchify(..., order="t p p c")`, and not the order that the encoder reads.
        """
        dtype = self.mask_token.dtype
        table = added_table(self.positions, grid, self.width, context_tokens.device, self.position_grid).to(dtype)
        context = self.embed(context_tokens).to(dtype) + table[context_ids]
        tokens = torch.cat((context, self.mask_token + table[target_ids]), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, context_ids.shape[1] :]))
