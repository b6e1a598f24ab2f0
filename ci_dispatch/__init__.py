"""Run one test suite over the machines you own, and get one verdict you can trust."""

__version__ = "0.1.0"
