"""The run in a browser: one event stream folded in a thread of its own, one page, no build step, no outside request.

    events -> Inbox (any thread) -> Board (fold, deltas) -> server (HTTP, server-sent events) -> page/
    from the engine: reporter.py                     from a journal: follow.py

Starlette and uvicorn (the extra `dashboard`) are imported by server.py and serving.py only.
"""
