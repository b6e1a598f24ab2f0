"""A repository with a test suite, as a user would have it: its files are run, never imported by ci-dispatch."""
