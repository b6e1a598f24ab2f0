"""The suite inside one workflow run: planned waves of matrix jobs, and a replay of what they reported. Pure."""
