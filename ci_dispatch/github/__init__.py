"""GitHub as the distributed engine: dispatch, watch, run again, collect."""
