"""What runs on a machine: starts a job, streams what it writes, and ends all of it when nobody asks for it any more.

This package is packed into one file and sent to the machine (`machines/command_lines.py`), where any Python >= 3.8 runs
it with the standard library alone. `local` and `ssh` machines use the very same file. How both ends talk, and what each
may rely on: docs/supervisor-protocol.md.

Rules (measured; each is a test in tests/integration/test_supervisor_*.py):

- A job outlives its connection and never outlives its lease. Only the controller renews the lease, by sending a
  heartbeat: an attach process that renewed by itself would keep an orphan alive, for sshd keeps it running after the
  peer is gone.
- Jobs are ended by INT, TERM, KILL in that order: Playwright and pytest write their reports on INT only.
- A process belongs to a job by descent, by session, or by the mark in its environment; that finds what called setsid
  or forked twice.
- Ending a job depends on no file: a supervisor that dies of whatever it is, or freezes, has a watchdog that ends it.
- What a job wrote is read by byte offset, so a stream that breaks goes on where it stopped, with nothing lost or
  doubled.
"""
