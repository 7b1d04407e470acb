"""Measure encoders on tasks: by every protocol, with intervals, beside what looks at nothing.

    python -m surgrec.benchmark +experiment=quickstart                       # everything, on a corpus that it synthesises
    python -m surgrec.benchmark +tasks.archives.cholec80=/data/cholec80 +encoders.models.ours=release
    python -m surgrec.benchmark ... shard=3/16                               # one of 16 jobs of a cluster; the last one writes the results

The same command continues an interrupted benchmark. In: a configuration. Out: results and a report. Read next:
surgrec/evaluation/running/run.py.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.config.benchmark_compose import run_benchmark
from surgrec.config.benchmark_schema import BenchmarkConfig
from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError
from surgrec.core.lock import only_writer
from surgrec.core.wording import counted, lasting

if TYPE_CHECKING:
    from surgrec.evaluation.results import Gap, Results
    from surgrec.evaluation.running.plan import Plan
    from surgrec.evaluation.running.run import Bench
    from surgrec.evaluation.submission import Submission

VIDEOS = "videos.csv"
_LOOK_SECONDS = 0.5


def benchmark(config: BenchmarkConfig) -> int:
    """Run what is left of the configured benchmark; returns the exit status."""
    from surgrec.config.benchmark import build_plan, part_of, provide  # torch is loaded only once the options are right
    from surgrec.config.benchmark_processes import run_in_processes
    from surgrec.evaluation.running.join import is_complete
    from surgrec.evaluation.running.run import Bench, run_cells
    from surgrec.evaluation.running.submitted import refuse_others
    from surgrec.evaluation.submission import read_submission

    start, folder = time.monotonic(), Path(config.paths.benchmarks) / config.name
    # a mistake of theirs is told before the work
    submissions = {file: read_submission(Path(file)) for file in config.submissions}
    part, number = part_of(config)
    with only_writer(folder.with_name(f"{folder.name}.{part}-of-{number}")):
        with _alone(Path(config.paths.embedded) / "benchmark"):
            provide(config)
        plan = build_plan(config)
        if not plan.tasks:
            raise UserError(
                "there is nothing left to measure on: no dataset could be read; mend what the gaps above say"
            )
        refuse_others(plan, submissions)
        list_videos(plan)
        bench = Bench(plan)
        if config.processes > 1:
            run_in_processes(config, plan)
        else:
            run_cells(plan, plan.of_shard(part, number), bench)
        if not is_complete(plan, bench):
            print(f"part {part} of {number} is done; the job that ends last writes {folder / 'results.json'}")
            return 0
        facts = {"seconds of the last call": round(time.monotonic() - start, 1), "processes": config.processes}
        with _alone(folder / "results.json"):
            results = write(bench, tuple(submissions.values()), facts)
    tell(results, folder)
    return 0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for a job that has it: all jobs of a cluster may come here at once."""
    with ExitStack() as held:
        is_told = False
        while True:
            try:
                held.enter_context(only_writer(path))
                break
            except UserError:
                if not is_told:
                    print(f"waiting for another job, which is writing {path}", file=sys.stderr, flush=True)
                is_told = True
                time.sleep(_LOOK_SECONDS)
        yield


def list_videos(plan: Plan) -> None:
    """Write which file each id stands for, by which reasons name a video: for whoever is to mend one, and not for the report."""
    from surgrec.evaluation.tasks.task import ClipTask

    rows = [row for task in plan.tasks for row in (task.clips if isinstance(task, ClipTask) else task.recordings)]
    with atomic_path(plan.folder / VIDEOS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video_id", "file"), *sorted({(row.video_id, str(row.video)) for row in rows})])


def write(bench: Bench, submissions: Sequence[Submission], facts: Mapping[str, object]) -> Results:
    """The results of all cells, with those that others submitted, and the report. `facts`: of this call, for the report."""
    from surgrec.evaluation.report import write_report
    from surgrec.evaluation.results_json import write_results
    from surgrec.evaluation.running.join import join
    from surgrec.evaluation.submission import with_submission

    plan = bench.plan
    results = join(plan, facts, bench)
    for submission in submissions:
        results = with_submission(results, submission)
    write_results(results, plan.folder / "results.json")
    write_report(results, plan.folder)
    return results


def tell(results: Results, folder: Path) -> None:
    """The numbers that a table shows first, and where everything is."""
    fits, seconds = sum(cell.num_fits for cell in results.cells), sum(cell.seconds for cell in results.cells)
    print(
        f"{counted(len(results.cells), 'cell')} of {counted(len(results.tasks), 'task')} and "
        f"{counted(len(results.encoders), 'encoder')}: {counted(fits, 'fit')} in {lasting(seconds)}"
    )
    alike: dict[tuple[str, str], list[Gap]] = {}
    for gap in results.gaps:
        alike.setdefault((gap.encoder, gap.reason), []).append(gap)
    for (encoder, reason), gaps in alike.items():
        tasks = list(dict.fromkeys(gap.task for gap in gaps))
        where = tasks[0] if len(tasks) == 1 else counted(len(tasks), "task")
        protocols = {gap.protocol for gap in gaps} - {"*"}
        what = [where, *([encoder] if encoder != "*" else []), *(protocols if len(gaps) == 1 else ())]
        print(f"  gap: {', '.join(what)}: {reason}")
    if results.gaps and (folder / VIDEOS).is_file():
        print(f"  videos   {folder / VIDEOS}, which file an id stands for: not to be given away")
    print(f"  report   {folder / 'report.html'}\n  results  {folder / 'results.json'}")


def main() -> int:
    """Entry point of `surgrec benchmark` and `python -m surgrec.benchmark`."""
    return run_benchmark(benchmark, __doc__)


if __name__ == "__main__":
    sys.exit(main())
