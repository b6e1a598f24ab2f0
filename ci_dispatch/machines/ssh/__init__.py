"""Machines over SSH. paramiko stays in here, and is imported only when a connection is made.

settings.py      what the user's OpenSSH configuration says, asked of `ssh -G`
known_hosts.py   which host keys are trusted
sockets.py       TCP, ProxyCommand; options that make a dead peer noticed
keys.py          private keys and the agent
connection.py    key exchange, authentication and commands, in as few round trips as they take
failures.py      every way it can fail, in words
machine.py       the Machine port on top
"""
