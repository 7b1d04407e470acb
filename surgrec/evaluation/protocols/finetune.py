"""Full fine-tuning: every parameter of the encoder is trained with a linear head on top.

In: a model, clips, labels, a split. Out: an `Answer`. It is its own file because the word has been used for training a head alone: here a
copy of the encoder is trained, the one that came in stays as it is, and parameters that never got a gradient are named in the record.

As VideoMAE is fine-tuned (Tong et al. 2022, arXiv 2203.12602, table 7): AdamW, learning rates that fall towards the first layers,
stochastic depth, label smoothing, warm-up and half a cosine, mean of tokens, layer norm, linear head. Clips are randomly cropped and
resized, and not flipped: classes may differ by the hand. Mixup, RandAugment and random erasing are left out: each would need settings of
its own for each task.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrec.core import rng
from surgrec.core.console import Advance, progress
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.evaluation.clips import ClipSource
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.metrics import Metric, balanced_accuracy
from surgrec.evaluation.protocols.answer import Answer, Search, Stopwatch, Values, choose, score_of
from surgrec.evaluation.protocols.blocks import layered_groups, stochastic_depth
from surgrec.evaluation.protocols.held_out import joined, refuse_shared_groups
from surgrec.evaluation.protocols.unfinished import Unfinished
from surgrec.evaluation.splits import Split
from surgrec.features.architecture import architecture_of
from surgrec.features.baseline import weights_sha256
from surgrec.features.layers import autocast
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.optim.schedules import Schedule, Shape


@dataclass(frozen=True)
class FinetuneSettings:
    """How a copy of the encoder is trained; the learning rate is the one of the grid that scores best on validation rows.

    `learning_rates` are those of the head at the given batch size. `layer_decay`: by how much each layer learns slower than the one above.
    `drop_path`: how often the last block is skipped. `crop_scale`: the area of the random crop, as shares of the frame.
    """

    num_epochs: int = 30
    batch_size: int = 16
    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    drop_path: float = 0.1
    label_smoothing: float = 0.1
    warmup_share: float = 0.1
    crop_scale: tuple[float, float] = (0.5, 1.0)
    crop_aspect: tuple[float, float] = (0.75, 1.35)
    head_std: float = 2e-5  # 0.02, times VideoMAE's 0.001
    precision: str = "float32"


class FineTunedModel(nn.Module):
    """Video (B, C, T, H, W) to logits (B, K): a copy of an encoder, mean of its tokens, layer norm, linear."""

    def __init__(self, encoder: nn.Module, num_classes: int, head_std: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        width = int(encoder.width)  # type: ignore[arg-type]
        linear = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(linear.weight, std=head_std)
        nn.init.zeros_(linear.bias)
        self.head = nn.Sequential(nn.LayerNorm(width), linear)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.encoder(video).float().mean(1))


@dataclass(frozen=True)
class Finetune:
    """Fits copies of `encoder`, one for each learning rate, and takes the one that does best on validation rows.

    `folder`: of one task, where fits are kept until they are done, at the end of an epoch and no more often than every
    `keep_every_seconds`; one that was stopped then goes on, and gives the same.
    """

    encoder: nn.Module
    preprocess: ClipPreprocess
    settings: FinetuneSettings = FinetuneSettings()
    metric: Metric = balanced_accuracy
    name: str = "full fine-tuning"
    folder: Path | None = None
    keep_every_seconds: float = 300.0

    def __call__(
        self, clips: ClipSource, labels: npt.NDArray[np.int64], split: Split, num_classes: int, seed: int
    ) -> Answer:
        """`labels` (n,) of the rows of `clips`. Test rows are read once, by the model that was chosen."""
        watch, settings = Stopwatch(), self.settings
        grid: tuple[Values, ...] = tuple({"learning_rate": rate} for rate in settings.learning_rates)
        untrained: set[str] = set()
        fits = [self._unfinished(values, labels, split.train, num_classes, seed) for values in grid]
        num_batches = -(-len(split.train) // settings.batch_size)

        with progress(self.name, len(grid) * settings.num_epochs * num_batches) as advance:

            def fit(values: Values) -> FineTunedModel:
                kept, rate = fits[grid.index(values)], values["learning_rate"]
                model, without = self._fit(clips, labels, split.train, num_classes, rate, seed, advance, kept)
                untrained.update(without)
                return model

            def score(model: FineTunedModel) -> float:
                wanted = torch.from_numpy(labels[split.validation])
                return score_of(self.logits(model, clips, split.validation), wanted, self.metric)

            model, place, scores = choose(grid, fit, score)
        logits = self.logits(model, clips, split.test)
        for kept in fits:
            kept.forget()
        search = Search(self.name, grid, scores, grid[place], len(grid), watch.seconds, tuple(sorted(untrained)))
        return Answer.of_logits(logits, search)

    def new_model(self, num_classes: int, seed: int) -> FineTunedModel:
        """A copy of the encoder with a head, the same for the same seed."""
        with _drawing(_word(seed, "finetune-head", 0), self.preprocess.device):
            return FineTunedModel(self.encoder, num_classes, self.settings.head_std).to(self.preprocess.device)

    @torch.no_grad()
    def logits(self, model: FineTunedModel, clips: ClipSource, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits (n, K) of `rows`, on the CPU, of the middle of the frames."""
        model.eval()
        outputs = []
        for first in range(0, len(rows), self.settings.batch_size):
            videos = [
                self.preprocess(clips.read(int(row), self.preprocess.num_frames))
                for row in rows[first : first + self.settings.batch_size]
            ]
            with autocast(self.settings.precision, self.preprocess.device):
                outputs.append(model(torch.cat(videos)).float().cpu())
        return torch.cat(outputs)

    def _fit(
        self,
        clips: ClipSource,
        labels: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        num_classes: int,
        rate: float,
        seed: int,
        advance: Advance,
        kept: Unfinished,
    ) -> tuple[FineTunedModel, set[str]]:
        """The model after all steps, and its parameters that never had a gradient other than zero.

        Head, order, crops and skipped blocks are the same for all learning rates.
        """
        settings, device = self.settings, self.preprocess.device
        model = self.new_model(num_classes, seed).train()
        groups = layered_groups(model.encoder, model.head, settings.layer_decay, settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999))
        num_batches = -(-len(rows) // settings.batch_size)
        num_steps = settings.num_epochs * num_batches
        warmup = max(1, round(settings.warmup_share * num_steps))
        schedule = Schedule(rate, num_steps, Shape.cosine, warmup_steps=warmup)
        augment = ClipAugment(self._augmentation(), seed)
        waiting = dict(model.named_parameters())
        first_epoch = 0
        if (state := kept.read()) is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            waiting, first_epoch = {name: waiting[name] for name in state["waiting"]}, state["epoch"]
            advance(first_epoch * num_batches)
        step = first_epoch * num_batches
        for epoch in range(first_epoch, settings.num_epochs):
            order = np.argsort(rng.uniforms(seed, "finetune-order", epoch, lanes=len(rows)), kind="stable")
            for first in range(0, len(rows), settings.batch_size):
                places = order[first : first + settings.batch_size]
                read = [torch.from_numpy(clips.read(int(rows[i]), self.preprocess.num_frames).copy()) for i in places]
                video = augment(read, epoch * len(rows) + places, device)
                wanted = torch.from_numpy(labels[rows[places]]).to(device)
                draws = torch.Generator().manual_seed(_word(seed, "finetune-drop-path", step))
                with (
                    _drawing(_word(seed, "finetune-dropout", step), device),
                    stochastic_depth(model.encoder, settings.drop_path, draws),
                    autocast(settings.precision, device),
                ):
                    loss = functional.cross_entropy(
                        model(video).float(), wanted, label_smoothing=settings.label_smoothing
                    )
                for group in optimizer.param_groups:
                    # one further in the warm-up, whose own first rate is 0
                    group["lr"] = schedule.at(step + 1 if step < warmup else step) * group["rate_factor"]
                optimizer.zero_grad()
                loss.backward()
                waiting = {name: each for name, each in waiting.items() if each.grad is None or not each.grad.any()}
                optimizer.step()
                step += 1
                advance()
            now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "waiting": list(waiting)}
            kept.write(now | {"epoch": epoch + 1}, is_last=epoch + 1 == settings.num_epochs)
        return model.eval(), set(waiting)

    def _unfinished(
        self, values: Values, labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], num_classes: int, seed: int
    ) -> Unfinished:
        if self.folder is None:
            return Unfinished(None, b"", self.keep_every_seconds)
        facts = (
            self.settings,
            self.preprocess.to_dict(),
            num_classes,
            dict(values),
            seed,
            weights_sha256(self.encoder),
            architecture_of(self.encoder),
        )
        depends_on = repr(facts).encode() + rows.tobytes() + labels[rows].tobytes()
        return Unfinished(self.folder, depends_on, self.keep_every_seconds)

    def _augmentation(self) -> AugmentSpec:
        pixels, settings = self.preprocess.pixels, self.settings
        return AugmentSpec(
            pixels.crop_pixels,
            scale=settings.crop_scale,
            aspect=settings.crop_aspect,
            flip_probability=0.0,
            mean=pixels.mean,
            std=pixels.std,
            interpolation=pixels.interpolation,
        )


def finetuned(
    clips: ClipSource,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    splits: Sequence[Split],
    protocol: Finetune,
    num_classes: int,
    seed: int = 0,
    may_share_groups: bool = False,
) -> HeldOut:
    """Like `held_out` of frozen features: `protocol` anew on every split of the rows of `clips`, test rows joined."""
    truth, names = np.asarray(labels, dtype=np.int64), np.asarray(groups, dtype=np.str_)
    if not may_share_groups:
        for split in splits:
            refuse_shared_groups(split, names)
    answers = [protocol(clips, truth, split, num_classes, seed) for split in splits]
    return joined(answers, truth, names, splits, num_classes)


@contextmanager
def _drawing(word: int, device: str) -> Iterator[None]:
    """While this lasts torch's global generators start from `word`: encoders of other libraries have dropout of their own."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(word)
        yield


def _word(seed: int, purpose: str, position: int) -> int:
    return int(rng.words(seed, purpose, position, lanes=1)[0] >> np.uint64(1))
