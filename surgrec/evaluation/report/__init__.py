"""The report on a benchmark: one page and the same as Markdown, made of `Results` alone."""

from surgrec.evaluation.report.write import write_report

__all__ = ["write_report"]
