"""What a team needs to know to deal with failed tests: where to look, whose they are, since when, which are known."""
