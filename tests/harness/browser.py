"""An ordinary client with cookies, on urllib: as a browser behaves."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any


@dataclass
class Page:
    status: int
    url: str
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Follows redirects, keeps cookies, gives error pages as pages."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def open(
        self,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Page:
        url = urllib.parse.urljoin(self.base + "/", path)
        asked = urllib.request.Request(url, data, headers or {}, method=method)
        try:
            answer = self.opener.open(asked, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Page(answer.status, answer.geturl(), answer.headers, answer.read())

    def submit(self, path: str, **fields: str) -> Page:
        """Posts a form."""
        return self.open(path, urllib.parse.urlencode(fields).encode(), {"Referer": self.base})

    def send_json(self, path: str, value: Any, method: str = "POST") -> Page:
        headers = {"Content-Type": "application/json"}
        return self.open(path, json.dumps(value).encode(), headers, method)

    def upload(self, path: str, name: str, data: bytes, field: str = "file", **fields: str) -> Page:
        """Posts a form with one file."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = "".join(parts).encode() + data + f"\r\n--{boundary}--\r\n".encode()
        return self.open(path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
