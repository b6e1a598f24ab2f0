"""What would fail on GitHub, found before the first push: from the files, from what GitHub shows, from the machines."""
