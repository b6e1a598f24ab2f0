"""What Lighthouse CI left behind: read, and set against its gates and an earlier run."""

from __future__ import annotations

from report_merge.lighthouse.read import METRICS, read
from report_merge.lighthouse.results import Assertion, Delta, LighthouseReport, Page, Spread, delta

__all__ = ["METRICS", "Assertion", "Delta", "LighthouseReport", "Page", "Spread", "delta", "read"]
