"""The latent predictor: from context tokens to what the target encoder would say about hidden tokens.

In: encoded context tokens, the ids of context and target tokens, the grid. Out: predicted tokens (B, M, D), and those of the
context where a head for them is there (V-JEPA 2.1). It is its own file because it belongs to one objective and is thrown away
after training (V-JEPA 2, Assran et al. 2025, arXiv 2506.09985).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.attention import AttentionBackend
from surgrec.models.block import NORM_EPS, Checkpointing, stack
from surgrec.models.errors import ModelError
from surgrec.models.init import InitScheme, draw_modality, init_weights
from surgrec.models.positions import Positions, RopeStyle, added_table, check_position_grid, check_rotary
from surgrec.models.rotary import Rotary


class Predictor(nn.Module):
    """A narrow transformer over context tokens and copies of a mask token (V-JEPA 2: 384 wide, 12 deep, 12 heads).

    All tokens carry the positions of their true ids, rotary ("rope", V-JEPA 2) or added ("sincos" and, as in V-JEPA 1,
    "sincos_3d"), so they are concatenated, not sorted. With "rope" all mask tokens are alike until training has moved them
    from zero, since rotation needs something to rotate; a short run starts sooner with added positions. The mask tokens start at
    zero and are one parameter (num_mask_tokens, 1, 1, width), so that all of it always has a gradient, which DDP needs.

    V-JEPA 2.1 (public code of V-JEPA 2, MIT licence; 24 deep) reads the `num_levels` levels of the encoder side by side, through
    Linear, GELU and Linear, and predicts as many: `out_width` (P), which is num_levels * encoder_width unless given. It has a
    second output layer, `proj_context`, for the context tokens themselves (`has_context_head`), stretched rotary positions
    (`rope_grid`, see `rotary_table`) and one vector `modality` added to all tokens (`has_modality_embedding`).
    """

    def __init__(
        self,
        *,
        encoder_width: int,
        num_levels: int = 1,
        out_width: int | None = None,
        has_context_head: bool = False,
        has_modality_embedding: bool = False,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        num_mask_tokens: int = 2,
        positions: Positions = "rope",
        rope_style: RopeStyle = "tiled",
        position_grid: Sequence[int] | None = None,
        norm_eps: float = NORM_EPS,
        rope_grid: int | None = None,
        attention_backend: AttentionBackend = "sdpa",
        activation_checkpointing: Checkpointing = "selective",
        init: InitScheme = "trunc_normal",
    ) -> None:
        super().__init__()
        if positions == "rope":
            check_rotary(width // num_heads, rope_style, rope_grid)
        elif rope_grid is not None:
            raise ModelError(f"rope_grid stretches rotary positions, and these are {positions}; leave it out")
        self.width, self.num_heads, self.rope_style, self.init_scheme = width, num_heads, rope_style, init
        self.positions, self.norm_eps = positions, norm_eps
        self.position_grid = None if position_grid is None else check_position_grid(position_grid, positions)
        self.rope_grid, self.num_levels = rope_grid, num_levels
        self.out_width = num_levels * encoder_width if out_width is None else out_width
        self.embed: nn.Module = nn.Linear(encoder_width, width)
        if num_levels > 1:
            merge = nn.Linear(num_levels * encoder_width, encoder_width)
            self.embed = nn.Sequential(merge, nn.GELU(), nn.Linear(encoder_width, width))
        self.mask_tokens = nn.Parameter(torch.zeros(num_mask_tokens, 1, 1, width))
        self.blocks = stack(
            depth,
            width,
            num_heads,
            mlp_ratio,
            qkv_bias="qkv",
            norm_eps=norm_eps,
            attention_backend=attention_backend,
            activation_checkpointing=activation_checkpointing,
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.proj = nn.Linear(width, self.out_width)
        self.proj_context = nn.Linear(width, self.out_width) if has_context_head else None
        self.modality = nn.Parameter(torch.zeros(width)) if has_modality_embedding else None
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all parameters anew; mask tokens are zero, as V-JEPA 2 has them."""
        init_weights(self, self.init_scheme)
        nn.init.zeros_(self.mask_tokens)
        draw_modality(self.modality)

    def forward(
        self,
        context_tokens: Tensor,
        context_ids: Tensor,
        target_ids: Tensor,
        grid: TokenGrid,
        mask_index: int = 0,
        *,
        with_context: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict the target tokens from context tokens (B, K, num_levels * D): (B, M, P), row m for token `target_ids[:, m]`.

        `context_ids` (B, K) and `target_ids` (B, M), int64, count in `grid`; `mask_index` picks the mask token (a model
        trained by the official code has trained number 0 alone; transformers' port always takes number 1).

        With `with_context`, a pair: these, and (B, K, P) for the context tokens themselves, by `proj_context`.
        Raises `ModelError` for a mask token or a head that is not there.
        """
        predicted, seen = self.forward_all(
            [context_tokens], [context_ids], [target_ids], grid, mask_index, with_context=with_context
        )
        return (predicted[0], seen[0]) if with_context else predicted[0]

    def forward_all(
        self,
        context_tokens: Sequence[Tensor],
        context_ids: Sequence[Tensor],
        target_ids: Sequence[Tensor],
        grid: TokenGrid,
        mask_index: int = 0,
        *,
        with_context: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`forward` for several masks of the same clips: in one pass where all have as many tokens in sum, else one after another.

        Returns what is predicted for the targets of every mask, and, `with_context`, for the context tokens of every mask.
        """
        self._refuse(mask_index, with_context)
        joined = [self._join(*mask, mask_index) for mask in zip(context_tokens, context_ids, target_ids, strict=True)]
        if len({ids.shape[1] for _, ids in joined}) == 1:
            tokens, ids = (torch.cat(parts) for parts in zip(*joined, strict=True))
            outputs = self._run(tokens, ids, grid).chunk(len(joined))
        else:
            outputs = tuple(self._run(tokens, ids, grid) for tokens, ids in joined)
        counts = [ids.shape[1] for ids in context_ids]
        predicted = [self.proj(self.norm(out[:, count:])) for out, count in zip(outputs, counts, strict=True)]
        seen: list[Tensor] = []
        if with_context and self.proj_context is not None:
            seen = [self.proj_context(self.norm(out[:, :count])) for out, count in zip(outputs, counts, strict=True)]
        return predicted, seen

    def _refuse(self, mask_index: int, with_context: bool) -> None:
        if with_context and self.proj_context is None:
            raise ModelError("this predictor has no head for context tokens; build it with has_context_head=True")
        if not 0 <= mask_index < self.mask_tokens.shape[0]:
            raise ModelError(
                f"the predictor has {self.mask_tokens.shape[0]} mask tokens, there is no number {mask_index}"
            )

    def _join(
        self, context_tokens: Tensor, context_ids: Tensor, target_ids: Tensor, mask_index: int
    ) -> tuple[Tensor, Tensor]:
        """Context tokens, then one mask token for every target, as wide as the predictor; and the ids of all."""
        context = self.embed(context_tokens).to(self.mask_tokens.dtype)
        target = self.mask_tokens[mask_index].expand(*target_ids.shape, -1)
        return torch.cat((context, target), dim=1), torch.cat((context_ids, target_ids), dim=1)

    def _run(self, tokens: Tensor, ids: Tensor, grid: TokenGrid) -> Tensor:
        rotary: Rotary | None = None
        if self.positions == "rope":
            rotary = Rotary.at(grid, self.width // self.num_heads, self.rope_style, ids, tokens.device, self.rope_grid)
        else:
            table = added_table(self.positions, grid, self.width, tokens.device, self.position_grid)
            tokens = tokens + table.to(tokens.dtype)[ids]
        if self.modality is not None:
            tokens = tokens + self.modality
        for block in self.blocks:
            tokens = block(tokens, rotary)
        return tokens
