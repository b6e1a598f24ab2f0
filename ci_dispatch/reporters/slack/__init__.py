"""A run told in Slack: one message edited in place, its failures in the thread, and the edges that matter to a team."""
