"""The one comment of a suite on its pull request, kept up to date."""

from __future__ import annotations

from ci_dispatch.fleets.actions.rest.api import GitHub


def keep_comment(github: GitHub, pull: int, text: str) -> None:
    """Edit the comment that begins with the first line of `text`, a hidden marker; write it when there is none.

    Somebody else's copy of the marker is left alone.

    Raises:
        GitHubRefused: as every call.
    """
    marker = text.partition("\n")[0]
    ours = (said for said in github.comments(pull) if said.trusted and said.text.startswith(marker))
    if (comment := next(ours, None)) is None:
        github.write_comment(pull, text)
    elif comment.text != text:
        github.edit_comment(comment.id, text)
