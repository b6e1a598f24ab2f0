"""The settings of a [[machine]], each declared once."""
# ruff: noqa: RUF009, FBT003  (a setting's default is an argument of its declaration; `setting` gives a dataclass field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ci_dispatch.config.setting import setting
from ci_dispatch.config.value_types import boolean, choice, duration, integer, number, optional, table, text, texts
from ci_dispatch.core.model import LONGEST_START_UP, SPEEDS, Connection

MACHINE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"  # also a file name, an artifact name and a metric's label
HOST = r"[A-Za-z0-9_\[][A-Za-z0-9_.:%\]-]*|"  # never begins with a dash: it is an argument of ssh
USER = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*|"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """A machine of the fleet. No [[machine]] at all: the fleet is this computer."""

    name: str = setting(
        "",
        text(MACHINE_NAME, "a name of letters, digits, _, . and -, at most 63 long"),
        "What it is called in reports. Its host too, unless `host` is given.",
    )
    connection: Connection = setting(Connection.SSH, choice(Connection), "ssh, or local: this computer.")
    host: str = setting(
        "",
        text(HOST, "a host name, an address, or a Host of ~/.ssh/config"),
        "For ssh. User, port, key and jump host come from ~/.ssh/config unless given here.",
    )
    user: str = setting("", text(USER, "a user name"), "User to log in as.")
    port: int | None = setting(None, optional(integer(1, 65535)), "Port of its SSH server.")
    key: str = setting("", text(), "Path of a private key on this computer.")
    cores: int = setting(0, integer(0, 4096), "0: ask the machine.")
    slots: int = setting(1, integer(1, 256), "Shards at a time. More than 1 is for suites that allow it.")
    workers: int = setting(0, integer(0, 4096), "Tests at a time inside one shard. 0: cores / slots.")
    tune_workers: bool = setting(
        False,
        boolean(),
        "Look for the best number of workers by careful steps from run to run, from `workers` or the cores on.",
    )
    speed: float = setting(1.0, number(*SPEEDS), "Of one core, compared with the others; learning begins here.")
    labels: tuple[str, ...] = setting(
        (),
        texts(),
        "Labels of its GitHub runner, and what a [[group]] may need; by its name it can be asked for anyway.",
    )
    workdir: str = setting(
        "", text(), "Where work trees are kept on it. Empty: .cache/ci-dispatch in the user's home folder."
    )
    env: Mapping[str, str] = setting({}, table(), "Environment variables of every runner on it.")
    start_up: float | None = setting(
        None,
        optional(duration(0, LONGEST_START_UP)),
        "Time a test runner needs before its first test. Not set: as learnt.",
    )
    cost: float = setting(0.0, duration(0), "It joins only a run that gets shorter by more than this.")
