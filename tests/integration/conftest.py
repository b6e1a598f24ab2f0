"""Fixtures that several files of these tests share."""

from tests.integration.github_started import start

__all__ = ["start"]
