"""Suites that others wrote, run with their own runner alone and with ci-dispatch, and compared test by test."""
