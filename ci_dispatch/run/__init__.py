"""What is true of any run: its events' fold, its decisions, its journal. No third-party library."""
