"""What several files of these tests share: fixtures, and how long a page may take in a real browser."""

from playwright.sync_api import expect

from tests.integration.github_started import start

__all__ = ["PAGE_MILLISECONDS", "start"]

PAGE_MILLISECONDS = 30_000  # until it shows what is expected of it: other tests take the computer's time too
expect.set_options(timeout=PAGE_MILLISECONDS)
