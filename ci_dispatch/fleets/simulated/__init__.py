"""Whole runs in virtual time: the real control, queue and planner over machines that are only on paper. Pure."""
