"""Runs shards through GitHub Actions: dispatch, poll, re-run, download."""
