"""The console script: `surgrec VERB ...` is `python -m surgrec.VERB ...`.

In: the command line. Out: the exit status of the command. It is its own file because it loads only the command that was
asked for, so that `surgrec --help` answers at once.
"""

from __future__ import annotations

import importlib
import sys

VERBS = {
    "synthesize": "write the embedded corpus: rendered surgery with labels, as real video files",
    "corpora": "list, show and check the cards of published sources",
    "index": "list a folder of videos in a manifest",
    "filter": "find what is not worth training on, and the bars around the picture",
    "prepare": "make small training copies that are cheap to decode",
    "corpus": "a page with all that is known of a corpus; notes on licence and consent; take a video out for good",
    "audit": "find out whether scores can be believed: test material in a corpus, leakage and label problems of splits",
    "preview": "show what a run would see and cost, without training",
    "doctor": "measure disk, cores and training step: which limits a run, and what would help",
    "train": "pretrain an encoder; the same command continues",
    "status": "tell how runs are doing: step, time to go, losses, mixture, alarms, last checkpoint",
    "export": "make a release of a run",
    "publish": "give a release to others: on the Hugging Face hub, in a folder, or as one file",
    "benchmark.data": "the benchmark's datasets: which there are, and what of each you have",
    "convert": "make of a release what transformers or ONNX runtimes read",
    "benchmark": "measure encoders on tasks, by every protocol, with intervals, and write a report",
    "extract": "compute frozen features of videos with a release",
    "look": "a page and a film of what a release makes of a video: features, similarity, neighbours",
}
MODULES = {  # of verbs whose own name is that of a stage, or has a dot
    "corpus": "surgrec.corpus_command",
    "benchmark.data": "surgrec.benchmark_data",
}
HYDRA_VERBS = ("train", "preview", "doctor", "benchmark")  # take key=value overrides; Hydra reads them from sys.argv

_HELP = """usage: surgrec VERB ...

Self-supervised video pretraining on surgical footage.

{verbs}

Options of a verb: surgrec VERB --help
Example:           surgrec train +variant=jepa +experiment=quickstart
"""


def main(argv: list[str] | None = None) -> int:
    """Run the verb in `argv` (default: the process's own arguments) and return its exit status; 2 where there is no such verb."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(), end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from surgrec import __version__

        print(f"surgrec {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"error: surgrec has no command '{verb}'; choose one of: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return _dispatch(verb, rest)


def _dispatch(verb: str, rest: list[str]) -> int:
    from surgrec.core.console import run_command

    command = importlib.import_module(MODULES.get(verb, f"surgrec.{verb}"))
    if verb not in HYDRA_VERBS:
        return run_command(lambda: command.main(rest))
    sys.argv = [f"surgrec {verb}", *rest]
    return run_command(command.main)


def _help() -> str:
    width = max(map(len, VERBS))
    return _HELP.format(verbs="\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items()))


if __name__ == "__main__":
    sys.exit(main())
