"""What known_hosts say, read without OpenSSH."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.machines.ssh.authentication import fingerprint, read_known_hosts

KEY = base64.b64encode(b"key one").decode()
OTHER = base64.b64encode(b"key two").decode()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("line", "name", "known"),
    [
        ("moruk ssh-ed25519 {key}", "moruk", True),
        ("moruk ssh-ed25519 {key}", "MORUK", True),
        ("moruk,10.0.0.1 ssh-ed25519 {key} a comment", "10.0.0.1", True),
        ("[moruk]:2201 ssh-ed25519 {key}", "[moruk]:2201", True),
        ("[moruk]:2201 ssh-ed25519 {key}", "moruk", False),
        ("moruk ssh-ed25519 {key}", "[moruk]:2201", False),
        ("*.lab,!bad.lab ssh-ed25519 {key}", "good.lab", True),
        ("*.lab,!bad.lab ssh-ed25519 {key}", "bad.lab", False),
        ("!bad.lab,*.lab ssh-ed25519 {key}", "bad.lab", False),
        ("host? ssh-ed25519 {key}", "host1", True),
        ("{hash} ssh-ed25519 {key}", "moruk", True),
        ("{hash} ssh-ed25519 {key}", "ilko2", False),
        ("|1|broken ssh-ed25519 {key}", "moruk", False),
        ("# moruk ssh-ed25519 {key}", "moruk", False),
        ("moruk ssh-ed25519 not-base64!", "moruk", False),
        ("moruk ssh-ed25519", "moruk", False),
        ("", "moruk", False),
    ],
)
def test_a_line_knows_a_name_or_not(line: str, name: str, known: bool) -> None:
    text = line.format(key=KEY, hash=hashed("moruk"))
    assert bool(read_known_hosts(name, {"f": text}).trusted) == known


def test_one_bad_line_does_not_hide_the_others() -> None:
    text = (
        f"moruk ssh-rsa ###\n@cert-authority moruk ssh-ed25519 {KEY}\nmoruk ssh-ed25519 {OTHER}\n@revoked * x {KEY}\n"
    )
    known = read_known_hosts("moruk", {"a": "", "b": text})
    assert known.trusted == {("ssh-ed25519", b"key two")}
    assert known.revoked == {b"key one"}
    assert known.authorities
    assert known.file == "b"
    assert known.types == {"ssh-ed25519"}


def test_a_fingerprint_reads_as_openssh_prints_it() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


@given(st.text(), st.text())
def test_no_known_hosts_file_is_an_exception(name: str, text: str) -> None:
    read_known_hosts(name, {"f": text})
