"""Results of several verbs as one HTML page that needs no network: docs/report.md."""

from oleaster.report.page import MOST_BYTES, ReportError, make_page

__all__ = ["MOST_BYTES", "ReportError", "make_page"]
