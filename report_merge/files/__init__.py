"""Which files are read, and how results are written."""
