"""What OpenSSH's configuration and known_hosts say, read without OpenSSH."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.machines.ssh.known_hosts import fingerprint, read
from ci_dispatch.machines.ssh.settings import jump_hops, parse
from ci_dispatch.run.ports import MachineError

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
    assert bool(read(name, {"f": text}).trusted) == known


def test_one_bad_line_does_not_hide_the_others() -> None:
    text = (
        f"moruk ssh-rsa ###\n@cert-authority moruk ssh-ed25519 {KEY}\nmoruk ssh-ed25519 {OTHER}\n@revoked * x {KEY}\n"
    )
    known = read("moruk", {"a": "", "b": text})
    assert known.trusted == {("ssh-ed25519", b"key two")}
    assert known.revoked == {b"key one"}
    assert known.authorities
    assert known.file == "b"
    assert known.types == {"ssh-ed25519"}


def test_a_fingerprint_reads_as_openssh_prints_it() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


@given(st.text(), st.text())
def test_no_known_hosts_file_is_an_exception(name: str, text: str) -> None:
    read(name, {"f": text})


PRINTED = """user anna
hostname 10.0.0.7
port 2201
identitiesonly yes
identityfile ~/.ssh/id_ed25519
identityfile /keys/with blank
userknownhostsfile /a/known_hosts "/b/with blank"
globalknownhostsfile /etc/ssh/ssh_known_hosts
hostkeyalias none
proxyjump bastion
identityagent none
"""


def test_what_openssh_prints_becomes_settings() -> None:
    settings = parse(PRINTED, alias="moruk")
    assert (settings.user, settings.hostname, settings.port) == ("anna", "10.0.0.7", 2201)
    assert settings.identities_only
    assert settings.identity_files[1] == Path("/keys/with blank")
    assert settings.known_hosts == (Path("/a/known_hosts"), Path("/b/with blank"), Path("/etc/ssh/ssh_known_hosts"))
    assert settings.known_as == "[10.0.0.7]:2201"
    assert settings.proxy_jump == "bastion"
    assert settings.identity_agent == "none"
    assert settings.command_line("true") == "ssh -p 2201 -l anna moruk true"
    aliased = parse(PRINTED.replace("hostkeyalias none", "hostkeyalias lab"), alias="moruk")
    assert aliased.known_as == "lab"


def test_output_that_is_no_configuration_is_an_error_in_words() -> None:
    with pytest.raises(MachineError, match="printed no configuration"):
        parse("hostname x\n", alias="moruk")


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        ("bastion", [("bastion", [])]),
        ("anna@bastion:2222", [("bastion", ["-l", "anna", "-p", "2222"])]),
        ("a,b@c", [("a", []), ("c", ["-l", "b"])]),
        ("ssh://anna@bastion:22/", [("bastion", ["-l", "anna", "-p", "22"])]),
        ("[fd00::1]:2222", [("fd00::1", ["-p", "2222"])]),
        ("fd00::1", [("fd00::1", [])]),
    ],
)
def test_jump_hosts(text: str, hops: list[tuple[str, list[str]]]) -> None:
    assert jump_hops(text) == hops
