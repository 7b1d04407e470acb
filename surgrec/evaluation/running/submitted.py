"""Are the numbers of others of the rows that a benchmark is about to test?

In: a plan, submissions by their files. Out: nothing, or a sentence. It is its own file because it is asked before the work, when there are
no results yet that the numbers could be put into.
"""

from __future__ import annotations

from collections.abc import Mapping

from surgrec.core.errors import UserError
from surgrec.evaluation.results import EncoderFacts, Results, TaskFacts
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.splits import facts_of, split_sets
from surgrec.evaluation.submission import Submission, with_submission
from surgrec.evaluation.tasks.task import ClipTask


def refuse_others(plan: Plan, submissions: Mapping[str, Submission]) -> None:
    """Raise `UserError` for a submission, by its file, that is of other rows, classes or metrics than this benchmark will be."""
    encoders = tuple(EncoderFacts(each.name, each.title, each.kind, 0, {}, {}, {}) for each in plan.entrants)
    tasks = []
    for task in plan.tasks:
        form, splits = "clips" if isinstance(task, ClipTask) else "dense", split_sets(task)
        facts = tuple(facts_of(task, chosen) for chosen in splits)
        tasks.append(TaskFacts(task.name, task.title, task.domain, form, task.classes, facts))
    expected = Results(0, plan.name, "", {}, tuple(tasks), encoders, ())
    for file, submission in submissions.items():
        try:
            expected = with_submission(expected, submission)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
