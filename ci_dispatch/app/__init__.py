"""What a command does, without a command line: builds the parts, drives the run, writes the results."""
