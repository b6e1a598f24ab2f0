"""The one place where an error becomes a message on stderr and an exit code.

Expected errors are shown as they stand. Anything else is our fault: exit 70, a log file to send us, and no traceback
unless CI_DISPATCH_DEBUG is set. Foreign text in messages is escaped for the terminal.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import click

from ci_dispatch import __version__
from ci_dispatch.core.errors import CiDispatchError, ExitCode

BROKEN_PIPE = 128 + signal.SIGPIPE  # as of a program that died of it: whoever read our output has left
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_EXTRAS = {"starlette": "dashboard", "uvicorn": "dashboard", "opentelemetry": "otel"}


def guarded(command: click.Command, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command line to its exit code; whatever happens inside, this returns."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a test's name is never a reason to stop
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's `&` and cron start programs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = _invoke(command, argv, environ)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  (the last line of defence)
        if environ.get("CI_DISPATCH_DEBUG"):
            import traceback

            traceback.print_exc()
        code = _end(error, argv, environ)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # what it still holds cannot be written, as was said
        _forget_output()
    return code


def _invoke(command: click.Command, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """What `Command.main` does, without its own ends: it would exit 1, our "tests failed", for a broken pipe."""
    if "_CI_DISPATCH_COMPLETE" in environ:  # https://click.palletsprojects.com/en/stable/shell-completion/
        command.main(list(argv), prog_name="ci-dispatch")
    try:
        with command.make_context("ci-dispatch", list(argv)) as ctx:
            return int(command.invoke(ctx) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code


def _end(error: BaseException, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    code: int
    match error:
        case CiDispatchError():
            message, code = str(error), error.exit_code
        case click.ClickException():
            context = error.ctx if isinstance(error, click.UsageError) else None
            path = context.command_path if context else "ci-dispatch"
            message, code = f"{error.format_message()}\n  try: {path} --help", ExitCode.USAGE
        case KeyboardInterrupt() | click.Abort():
            message, code = "interrupted", ExitCode.INTERRUPTED
        case SystemExit():
            message, code = "", error.code if isinstance(error.code, int) else ExitCode.INTERNAL
        case BrokenPipeError():
            _forget_output()
            message, code = "", BROKEN_PIPE
        case ModuleNotFoundError() if _top(error) in _EXTRAS:
            message = f"This command needs {_top(error)}\n  try: pip install 'ci-dispatch[{_EXTRAS[_top(error)]}]'"
            code = ExitCode.USAGE
        case OSError() if error.errno in _DISK:
            what = f"{error.filename or 'The output'} could not be used: {error.strerror}"
            message = f"{what}\n  try: look at the free space (df -h) and the permissions there, then run it again"
            code = ExitCode.INCOMPLETE
        case _:
            message, code = _internal(error, argv), ExitCode.INTERNAL
    if message and code != ExitCode.INTERRUPTED:
        message = f"error: {message}"
        if environ.get("GITHUB_STEP_SUMMARY"):
            from ci_dispatch.app.github_output import summarize_refusal

            try:
                summarize_refusal(message, environ)
            except OSError as refused:
                show_message(f"warning: the step's summary could not be written: {refused.strerror}")
    if message:
        show_message(message)
    return int(code)


def _top(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _internal(error: BaseException, argv: Sequence[str]) -> str:
    """The message of a failure of our own, with a log file that has everything."""
    import platform  # all three are slow to import, and hardly ever needed
    import tempfile
    import traceback

    what = f"ci-dispatch itself failed: {type(error).__name__}: {str(error)[:500]}"
    lines = [f"ci-dispatch {__version__}, Python {platform.python_version()}, {platform.platform()}",
             f"arguments: {list(argv)}", "", *traceback.format_exception(error)]  # fmt: skip
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", prefix="ci-dispatch-", suffix=".log", delete=False
        ) as log:
            log.write("\n".join(lines))
    except OSError as refused:
        return f"{what}\n  try: the same with CI_DISPATCH_DEBUG=1 (no log file: {refused.strerror})"
    return f"{what}\n  try: report it as a bug, with {log.name} (read it first: it may hold names of yours)"


def show_message(message: str) -> None:
    """On stderr, where nothing of it moves the cursor or is taken for a command by GitHub's runner."""
    from report_merge.render.escape import terminal, workflow_log

    try:
        click.echo(workflow_log(terminal(message)), err=True)
    except (OSError, ValueError):  # stderr is closed as well
        _forget_output()


def _forget_output() -> None:
    """Point stdout and stderr at nothing, or Python would complain about them when it ends."""
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                os.dup2(nothing.fileno(), stream.fileno())
