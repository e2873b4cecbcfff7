"""The gate: judges a record, on its own and against a baseline, and reports on both.

It reads what was measured and measures nothing itself.
"""

from coreml_assay.gate.reasons import Kind, Reason
from coreml_assay.gate.report import render, write_report
from coreml_assay.gate.summary import junit_xml, markdown
from coreml_assay.gate.verdict import Status, Verdict, judge

__all__ = [
    "Kind",
    "Reason",
    "Status",
    "Verdict",
    "judge",
    "junit_xml",
    "markdown",
    "render",
    "write_report",
]
