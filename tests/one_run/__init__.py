"""One workflow run executed by act on this machine: fresh workspaces, a repository to fetch from, an artifact store."""
