"""A Slack to test against: a real HTTP server that keeps messages and enforces Slack's limits, rates and refusals.

    with SlackDouble() as slack:
        client = WebClient("xoxb-good", base_url=slack.api_url)
        slack.faults.append(RateLimited(2))

What it enforces is written down with its sources in limits.py. Faults are used up one a request, in order;
`slack.always` is a fault for every request.
"""

from tests.slack_double.faults import DropAfter, DropBefore, Fault, Html, RateLimited, Refuse, ServerError, Slow
from tests.slack_double.server import SlackDouble
from tests.slack_double.workspace import Message, Workspace

__all__ = [
    "DropAfter",
    "DropBefore",
    "Fault",
    "Html",
    "Message",
    "RateLimited",
    "Refuse",
    "ServerError",
    "SlackDouble",
    "Slow",
    "Workspace",
]
