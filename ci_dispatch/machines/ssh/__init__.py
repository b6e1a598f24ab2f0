"""Machines over SSH. paramiko stays in here, and is imported only when a connection is made.

settings.py        what the user's OpenSSH configuration says, asked of `ssh -G`
authentication.py  which host keys are trusted, which private keys are tried
transport.py       TCP or a ProxyCommand, with options that make a dead peer noticed
connection.py      key exchange, authentication and commands, each within its deadline
pipelining.py      the same in as few round trips as they take
failures.py        every way it can fail, in words
machine.py         the Machine port on top
"""
