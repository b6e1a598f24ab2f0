"""The command line: declarations of commands and options. What a command does is in `ci_dispatch.app`."""
