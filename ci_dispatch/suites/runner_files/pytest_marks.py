"""What pytest's marks say about where and when a test may run. Needs the standard library only.

@pytest.mark.ci_dispatch(exclusive="db", after=["set-up"])
@pytest.mark.ci_dispatch(group="checkout", together="machine")
"""

from __future__ import annotations

from typing import Any

MARK = "ci_dispatch"
LISTS = ("exclusive", "exclusive_on_machine", "needs", "after")
KEYWORDS = ("group", "together", *LISTS, "side_effects")
TOGETHER = ("no", "machine", "shard")
SIGNATURE = (
    "ci_dispatch(group, together, exclusive, exclusive_on_machine, needs, after, side_effects): "
    "where and when ci-dispatch may run it"
)
WITHOUT_MEANING = ("parametrize", "usefixtures", "filterwarnings")  # as tags


def tags_of(item: Any) -> list[str]:
    """The names of its marks."""
    return sorted({mark.name for mark in item.iter_markers()}.difference(WITHOUT_MEANING))


def marks_of(item: Any) -> list[dict[str, Any]]:
    """Its marks of ours, as groups. Raises ValueError for one that says what none can say."""
    return [_group(mark) for mark in item.iter_markers(MARK)]


def _group(mark: Any) -> dict[str, Any]:
    if mark.args:
        raise ValueError(f"it takes keywords only: {', '.join(KEYWORDS)}")
    unknown = [name for name in mark.kwargs if name not in KEYWORDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of its keywords: {', '.join(KEYWORDS)}")
    group = mark.kwargs.get("group", "")
    together = mark.kwargs.get("together", "no")
    if not isinstance(group, str) or together not in TOGETHER:
        raise ValueError(f"`group` is a name, and `together` one of {', '.join(TOGETHER)}")
    if together != "no" and not group:
        raise ValueError('`together` needs a `group="NAME"`: together with what?')
    side_effects = mark.kwargs.get("side_effects", False)
    if not isinstance(side_effects, bool):
        raise ValueError("`side_effects` is True or False")  # noqa: TRY004  all that is wrong with a mark is one kind
    words = {"name": group, "together": together, "side_effects": side_effects}
    return {**words, **{name: _words(name, mark.kwargs.get(name, ())) for name in LISTS}}


def _words(name: str, given: Any) -> list[str]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, (list, tuple, set)) or not all(isinstance(word, str) and word for word in given):
        raise ValueError(f"`{name}` is a text or a list of texts, not {given!r}")
    return sorted(given) if isinstance(given, set) else list(given)
