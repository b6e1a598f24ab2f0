"""What GitHub Actions tells a job, and what the job tells GitHub."""
