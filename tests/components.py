"""The real components tests may need, how to see whether they are here, and how to get them."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JS = ROOT / "tests" / "integration" / "js"
REFERENCE_SUITE = ROOT / "examples" / "reference-suite"  # Playwright: 12 spec files x 3 projects
PUBLIC = ROOT / ".tools" / "public"  # source archives of suites that others wrote

HOW_TO_GET = {
    "sshd": "apt-get install openssh-server openssh-client",
    "namespaces": "run as root on Linux with /dev/net/tun, and: apt-get install iproute2",
    "chromium": "apt-get install chromium-headless-shell",
    "playwright": f"npm ci in {REFERENCE_SUITE.relative_to(ROOT)}",
    "node": "install Node.js >= 20",
    "npm": "install Node.js >= 20 with npm",
    "act": "install Go, then scripts/install-test-tools",
    "actionlint": "install Go, then scripts/install-test-tools",
    "octokit": "npm ci in tests/integration/js/octokit",
    "workflow-tools": "npm ci in tests/integration/js/workflow-tools",
    "public suites": "scripts/install-test-tools",
}


def chromium() -> str | None:
    """The headless browser: Debian's headless shell is three times faster than its full Chromium."""
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None


def tool(name: str) -> str | None:
    """A tool that scripts/install-test-tools put into .tools, or one on the PATH."""
    own = ROOT / ".tools" / name
    return str(own) if own.exists() else shutil.which(name)


@cache
def _namespaces_work() -> bool:
    if os.name != "posix" or os.geteuid() != 0 or not Path("/dev/net/tun").exists() or not shutil.which("ip"):
        return False
    attempt = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "true"]
    return subprocess.run(attempt, capture_output=True, check=False, timeout=10).returncode == 0


def present(component: str) -> bool:
    match component:
        case "sshd":
            return all(shutil.which(n, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") for n in ("sshd", "ssh"))
        case "namespaces":
            return _namespaces_work()
        case "chromium":
            return chromium() is not None
        case "playwright":
            return shutil.which("node") is not None and (REFERENCE_SUITE / "node_modules/@playwright/test").is_dir()
        case "node" | "npm":
            return shutil.which(component) is not None
        case "octokit" | "workflow-tools":
            return shutil.which("node") is not None and (JS / component / "node_modules").is_dir()
        case "act" | "actionlint":
            return tool(component) is not None
        case "public suites":
            return any(PUBLIC.glob("*.tar.gz"))
    raise ValueError(f"no such component: {component}; known: {', '.join(HOW_TO_GET)}")
