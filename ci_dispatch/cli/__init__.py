"""The command line: the composition root. Commands build the edges, run the engine and return the exit code."""
