"""The ways out of a run: machines over SSH, and GitHub Actions."""
