"""What was said: one value for each exchange."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    method: str
    url: str  # path and query
    request_headers: Mapping[str, str]  # names in lower case, the token replaced
    request_body: bytes
    status: int  # 0: no answer was given
    answer_headers: Mapping[str, str]
    answer: bytes
    moment: float  # on the double's clock

    @property
    def answer_type(self) -> str:
        return self.answer_headers.get("Content-Type", "")

    @property
    def sent(self) -> Any:
        return json.loads(self.request_body)
