"""Real machines for tests, in two tiers.

servers.py      tier 1: sshd as whoever runs the tests, on loopback ports; nothing else is needed
hostile.py      peers that take a connection and misbehave
relay.py        a TCP relay that can be cut, frozen and restored
lab.py, wire.py tier 2 (root): machines in namespaces of their own behind a line with real round-trip times
fixtures.py     all of it as pytest fixtures
"""
