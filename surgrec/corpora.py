"""The cards of published sources: list them, read one, check that they hold and what of them lies in a folder.

    python -m surgrec.corpora list --domain cataract
    python -m surgrec.corpora show cholec80
    python -m surgrec.corpora check --root /data/surgery cholec80 heichole

In: flags. Out: text or JSON on stdout. Nothing is written and no video is opened.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import STATUS_OK, STATUS_USER_ERROR, run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.corpus.card import Card
    from surgrec.corpus.presence import Presence

_SHOWN_PATHS = 20


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec corpora`; returns the exit status: 2 where a check found something to mend."""
    options = _parser().parse_args(arguments)
    match options.verb:
        case "list":
            return _list(options)
        case "show":
            return _show(options)
        case "shares":
            return _shares(options)
        case _:
            return _check_files(options) if options.root is not None else _check_cards(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec corpora",
        description="Cards of published surgical and endoscopic video: what there is, under which terms, and what you have.",
        epilog="example: surgrec corpora list --domain cataract",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|check|shares")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--cards", type=Path, metavar="DIR", help="cards of your own, beside or instead of those shipped"
    )

    listing = verbs.add_parser(
        "list", parents=[common], help="a table of the cards", epilog="example: surgrec corpora list --task downstream"
    )
    listing.add_argument(
        "--domain", help="only sources of this domain: endoscopy, laparoscopy, cataract, robotic, other"
    )
    listing.add_argument(
        "--task",
        metavar="TASK",
        help="only sources with labels for it, such as phase; downstream: sources of a benchmark",
    )
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="whole cards as JSON")
    form.add_argument("--markdown", action="store_true", help="the table, and that of overlaps, in Markdown")

    showing = verbs.add_parser(
        "show", parents=[common], help="everything that a card says", epilog="example: surgrec corpora show cholec80"
    )
    showing.add_argument("name", metavar="NAME", help="name of a card, or the path of a YAML file")
    showing.add_argument("--json", action="store_true", help="as JSON")

    checking = verbs.add_parser(
        "check",
        parents=[common],
        help="without --root: whether the cards hold; with it: what of each source lies there",
        epilog="example: surgrec corpora check --root videos/cholec80 cholec80",
    )
    checking.add_argument("names", nargs="*", metavar="NAME", help="sources to check; without: all")
    checking.add_argument(
        "--root", type=Path, metavar="DIR", help="folder with a folder NAME for each source, or of the one source named"
    )
    checking.add_argument("--verbose", action="store_true", help="also list paths; without it no file is named")

    sharing = verbs.add_parser(
        "shares",
        parents=[common],
        help="what policies of a mixture would make of the sources whose hours are known, in Markdown",
        epilog="example: surgrec corpora shares --variant mae",
    )
    sharing.add_argument("--variant", choices=("mae", "jepa"), default="mae", help="the run that draws (default: mae)")
    return parser


def _cards(options: argparse.Namespace) -> dict[str, Card]:
    """Shipped cards and the user's; of one name, the user's."""
    from surgrec.corpus.card import load_cards, shipped_cards

    own = load_cards(options.cards) if options.cards is not None else {}
    return dict(sorted({**shipped_cards(), **own}.items()))


# -- list and show


def _list(options: argparse.Namespace) -> int:
    from surgrec.corpus import card_view
    from surgrec.corpus.manifest import DOMAINS

    if options.domain is not None and options.domain not in DOMAINS:
        raise UserError(f"there is no domain {options.domain!r}; choose one of {', '.join(DOMAINS)}")
    chosen = [card for card in _cards(options).values() if options.domain in (None, card.domain)]
    if options.task is not None:
        chosen = [card for card in chosen if _serves(card, options.task)]
    if options.json:
        print(json.dumps([card_view.as_json(card) for card in chosen], indent=2, ensure_ascii=False))
    elif options.markdown:
        print(card_view.markdown(chosen), card_view.overlaps_markdown(chosen), sep="\n\n")
    else:
        print(card_view.table(chosen))
    return STATUS_OK


def _shares(options: argparse.Namespace) -> int:
    from surgrec.config.compose import compose_config
    from surgrec.config.footage import course_of
    from surgrec.data.expected import shares_markdown

    course = course_of(compose_config([f"+variant={options.variant}"]))
    print(shares_markdown(list(_cards(options).values()), float(course.draws @ course.seconds) / 3600))
    return STATUS_OK


def _serves(card: Card, task: str) -> bool:
    if task == "downstream":
        return bool(card.benchmarks)
    return isinstance(card.labels, tuple) and any(task.lower() in label for label in card.labels)


def _show(options: argparse.Namespace) -> int:
    from surgrec.corpus import card_view
    from surgrec.corpus.card import card_of, load_card

    is_file = options.name.endswith((".yaml", ".yml"))
    card = load_card(Path(options.name)) if is_file else card_of(options.name, _cards(options))
    print(json.dumps(card_view.as_json(card), indent=2, ensure_ascii=False) if options.json else card_view.page(card))
    return STATUS_OK


# -- check


def _check_cards(options: argparse.Namespace) -> int:
    """Read every card, the user's one by one, so that one mistake does not hide the next."""
    from surgrec.corpus.card import CardError, card_of, contradictions, load_card, load_cards, shipped_cards

    cards = shipped_cards()
    problems = []
    if options.cards is not None:
        for path in sorted(options.cards.glob("*.yaml")):
            try:
                card = load_card(path)
                cards[card.name] = card
            except CardError as error:
                problems.append(str(error))
        if not problems:
            load_cards(options.cards)  # refuses an empty folder and a name used twice
    for name in options.names:
        card_of(name, cards)
    problems += contradictions(cards)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{counted(len(cards), 'card')}, {counted(len(problems), 'problem')}")
    return STATUS_USER_ERROR if problems else STATUS_OK


def _check_files(options: argparse.Namespace) -> int:
    from surgrec.corpus.card import card_of
    from surgrec.corpus.presence import look

    if not options.root.is_dir():
        raise UserError(f"there is no folder {options.root}; give the folder that holds the sources")
    cards = _cards(options)
    chosen = [card_of(name, cards) for name in options.names] or list(cards.values())
    places = [(card, _place(options.root, card, is_only=len(options.names) == 1)) for card in chosen]
    found = [look(place, card) for card, place in places if place is not None]
    for presence in found:
        _print_presence(presence, cards[presence.source], options.verbose)
    absent = [card.name for card, place in places if place is None]
    if options.names and absent:
        print(f"absent: {', '.join(absent)}; each is looked for in a folder of its name below {options.root}")
    elif not options.names:
        print(f"folders of their name are here for {len(found)} of {counted(len(cards), 'source')}")
        _print_strangers(options.root, cards, options.verbose)
    is_well = all(presence.is_as_published for presence in found) and not (options.names and absent)
    return STATUS_OK if is_well else STATUS_USER_ERROR


def _place(root: Path, card: Card, is_only: bool) -> Path | None:
    """The folder of a source: its name below `root`, or `root` itself where only this source was asked for."""
    if (root / card.name).is_dir():
        return root / card.name
    return root if is_only else None


def _print_presence(presence: Presence, card: Card, is_verbose: bool) -> None:
    unit = {"frames": "frame", "images": "image"}.get(str(card.media), "video")
    published = "unknown" if presence.expected is None else f"{presence.expected:,}"
    print(
        f"{presence.source}: {counted(len(presence.present), unit)} in {counted(presence.num_groups, 'group')}, {published} published"
    )
    for name, count in presence.splits.items():
        print(f"  split {name}: {count:,}")
    _print_paths("missing", presence.missing or 0, presence.absent_examples if presence.missing else (), is_verbose)
    _print_paths("more than published", presence.surplus or 0, (), is_verbose)
    _print_paths("unexpected: fit no file_pattern", len(presence.unexpected), presence.unexpected, is_verbose)
    _print_paths("unexpected: no group can be read", len(presence.no_group), presence.no_group, is_verbose)
    _print_paths(
        "documented paths that are not here", len(presence.absent_examples), presence.absent_examples, is_verbose
    )
    _print_paths("other files", len(presence.others), presence.others, is_verbose)


def _print_paths(what: str, count: int, paths: tuple[str, ...], is_verbose: bool) -> None:
    if not count:
        return
    print(f"  {what}: {count:,}")
    if is_verbose:
        for path in paths[:_SHOWN_PATHS]:
            print(f"    {path}")
        if len(paths) > _SHOWN_PATHS:
            print(f"    ... and {len(paths) - _SHOWN_PATHS} more")


def _print_strangers(root: Path, cards: dict[str, Card], is_verbose: bool) -> None:
    strangers = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name not in cards)
    _print_paths("folders that no card is named after", len(strangers), tuple(strangers), is_verbose)


if __name__ == "__main__":
    sys.exit(run_command(main))
