"""See what a released encoder makes of a video: a page to click in, and a film.

    python -m surgrec.look --model release --video operation.mp4 --out look.html
    python -m surgrec.look --model release --video manifest.parquet --video-id ID --labels labels --features features.zarr --out look.html

In: a release and a video; labels and features of a corpus where they are. Out: an HTML page that needs nothing else, and an mp4 beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import sized

if TYPE_CHECKING:
    from surgrec.features.videos import Video
    from surgrec.hub.load import LoadedModel
    from surgrec.looking.study import Corpus

MAX_MOMENTS = 120  # of which a page stays below about 15 MB


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec look`; returns the exit status."""
    options = _parser().parse_args(arguments)
    _refuse_options(options)

    import torch

    from surgrec.core.atomic import write_text
    from surgrec.hub.load import load_decoder, load_release
    from surgrec.looking.film import refuse_loss, write_film
    from surgrec.looking.page import as_html
    from surgrec.looking.study import Labels, study
    from surgrec.video.errors import VideoError

    film = options.out.with_suffix(".mp4")
    refuse_loss(film)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_release(options.model, device)
    video = _video(options.video, options.video_id)
    try:
        look = study(
            model,
            video,
            num_moments=options.moments,
            projection=options.projection,
            labels=Labels(options.labels, options.label_column) if options.labels else None,
            corpus=_corpus(options, model),
            decoder=load_decoder(model.folder, device) if model.folder else None,
            num_threads=options.threads,
        )
    except VideoError as error:
        raise UserError(
            f"the video {video.video_id} cannot be read ({error.reason}); `surgrec index` tells more"
        ) from None
    write_film(film, look.seen.frames, look.colours, look.seen.seconds, video.duration_seconds)
    write_text(options.out, as_html(look))
    print(f"{options.out} ({sized(options.out.stat().st_size)}): {video.video_id}, {len(look.seen)} moments")
    print(f"{film} ({sized(film.stat().st_size)})")
    print("Both show frames of the video: share them only with those who may see the footage.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec look",
        description="A page and a film of what a released encoder makes of a video: feature map, similarity to a clicked patch, timeline, "
        "nearest neighbours in a corpus, reconstruction.",
        epilog="example: surgrec look --model release --video operation.mp4 --out look.html",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="RELEASE", help="folder of `surgrec export`, or its name on Hugging Face")
    add("--video", type=Path, required=True, metavar="PATH", help="a video, or a manifest.parquet that lists it")
    add("--video-id", metavar="ID", help="which video of the manifest")
    add("--out", type=Path, required=True, metavar="PAGE.html", help="page to write; the film is written beside it")
    add(
        "--moments",
        type=int,
        default=48,
        metavar="N",
        help=f"moments to show, evenly over the video (default 48, at most {MAX_MOMENTS})",
    )
    add(
        "--labels",
        type=Path,
        metavar="PATH",
        help="a CSV file with time_seconds and labels, or a folder with VIDEO_ID.csv",
    )
    add("--label-column", default="phase", metavar="NAME", help="column of the labels (default phase)")
    add(
        "--features",
        type=Path,
        metavar="FEATURES",
        help="what `surgrec extract` wrote with this release, to search for neighbours",
    )
    add(
        "--corpus",
        type=Path,
        metavar="MANIFEST",
        help="lists the videos of --features, for pictures of neighbours (default: --video where it is a manifest, else the list that "
        "extract keeps beside its features)",
    )
    add("--projection", choices=("pca", "umap"), default="pca", help="of embeddings to a map (default pca)")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    add(
        "--threads",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode (default: cores, at most 4)",
    )
    return parser


def _refuse_options(options: argparse.Namespace) -> None:
    if options.out.suffix not in (".html", ".htm"):
        raise UserError(f"--out {options.out} is no page; give a name that ends with .html")
    if not 1 <= options.moments <= MAX_MOMENTS:
        raise UserError(f"--moments {options.moments} must be 1 to {MAX_MOMENTS}, so that a browser can open the page")
    if options.corpus and not options.features:
        raise UserError("--corpus tells where the videos of --features are; give --features, too, or leave it out")
    if not options.video.is_file():
        raise UserError(
            f"there is no file {options.video}; give --video a video, or a manifest.parquet with --video-id"
        )
    if options.video_id and options.video.suffix != ".parquet":
        raise UserError("--video-id chooses from a manifest; give --video a manifest.parquet, or leave it out")


def _video(path: Path, video_id: str | None) -> Video:
    from surgrec.features.videos import find_videos

    videos = {video.video_id: video for video in find_videos(path, path, num_workers=1).videos}
    if video_id is None and len(videos) == 1:
        return next(iter(videos.values()))
    if video_id not in videos:
        some = ", ".join(list(videos)[:5])
        wanted = (
            "choose one of its videos with --video-id" if video_id is None else f"the manifest does not list {video_id}"
        )
        raise UserError(f"{wanted}: it lists {some}{' and others' if len(videos) > 5 else ''}")
    return videos[video_id]


def _corpus(options: argparse.Namespace, model: LoadedModel) -> Corpus | None:
    if options.features is None:
        return None
    from surgrec.corpus.manifest import Manifest
    from surgrec.looking.neighbours import open_features
    from surgrec.looking.study import Corpus

    store = open_features(options.features, model.sha256, model.preprocess.to_dict())
    beside = options.features.with_name(f"{options.features.name}.videos.parquet")
    manifest = options.corpus or (options.video if options.video.suffix == ".parquet" else beside)
    if options.corpus is None and not manifest.is_file():
        return Corpus(store, None)
    return Corpus(store, Manifest.read([manifest]))


if __name__ == "__main__":
    sys.exit(run_command(main))
