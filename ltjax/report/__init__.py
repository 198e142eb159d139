"""Tables, pictures and the HTML report of one run or of several side by side."""

from ltjax.report.report import print_evaluation, write, write_posthoc, write_spectra
from ltjax.report.runs import Run, Summary, load_run, summarize

__all__ = [
    "Run",
    "Summary",
    "load_run",
    "print_evaluation",
    "summarize",
    "write",
    "write_posthoc",
    "write_spectra",
]
