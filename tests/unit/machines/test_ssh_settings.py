"""What OpenSSH's configuration says, read without OpenSSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh.settings import ask_openssh, jump_hops, parse, resolve
from ci_dispatch.run.ports import MachineError

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
    "line", ['userknownhostsfile "/a', "identityfile ~no-such-user-here/key", "userknownhostsfile ~no-such-user-here/k"]
)
def test_paths_that_cannot_be_read_are_an_error_in_words(line: str) -> None:
    with pytest.raises(MachineError, match="cannot be used"):
        parse(f"user u\nhostname h\nport 22\n{line}\n", alias="moruk")


def test_a_key_of_an_unknown_user_and_a_host_that_is_no_text_are_errors_in_words() -> None:
    with pytest.raises(MachineError, match="cannot be used"):
        resolve(MachineSpec(name=MachineName("moruk"), key="~no-such-user-here/key"))
    with pytest.raises(MachineError, match="is not a host name"):
        ask_openssh("a\0b", [], config_file="", seconds=1.0)


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
