"""GitHub's REST API: one client, typed values, errors that say what to do."""
