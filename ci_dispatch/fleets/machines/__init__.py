"""Runs shards straight on machines: a queue they pull from, and the threads that execute."""
