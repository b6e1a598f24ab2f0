"""The chaos campaign: whole runs under seeded faults, and what must be true of each afterwards.

plan.py              a seed becomes a plan: fleet, suite, faults and their moments; github_plan.py the same for GitHub
suite.py, audit.py   the suite under test, and the log of what really ran where, which no run can touch
fleet*.py            real sshd machines, in namespaces or on loopback ports, and everything that can happen to one
controller.py        the controller's process: killed, stopped, signalled, resumed
over_ssh.py          one seed over machines, from an empty folder to its evidence
through_github.py    one seed through GitHub: our client and control against the double, in simulated time
checks.py            the evidence of a run against the promises
campaign.py          `make chaos`: many seeds side by side, a line for each, failures kept
table.py             what a campaign came to, for docs/reliability.md
"""
