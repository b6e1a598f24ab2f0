"""What earlier runs taught, in one SQLite file beside the runs: verdicts, attempts, durations, announcements."""
