#!/usr/bin/env python3
"""The API of policy.yaml as a CGI program (RFC 3875): routes are patterns over `PATH_INFO`, which the server has decoded."""

import json
import os
import re
import sys

ROUTES = [
    ("admin.list", "GET", r"/admin"),
    ("users.settings", "GET", r"/users/settings"),
    ("users.get", "GET", r"/users/(?P<id>[^/]+)"),
    ("users.update", "POST", r"/users/(?P<id>[^/]+)"),
    ("users.delete", "DELETE", r"/users/(?P<id>[^/]+)"),
    ("items.list", "GET", r"/items"),
    ("items.create", "POST", r"/items"),
    ("org.get", "GET", r"/org"),
    ("names.get", "GET", r"/names/(?P<name>[^/]+)"),
    ("blob.raw", "GET", r"/blob/(?P<key>.+)/raw"),
    ("blob.get", "GET", r"/blob/(?P<key>.+)"),
    ("docs.get", "GET", r"/docs/(?P<name>[^/]+)"),
    ("files.list", "GET", r"/files"),
    ("files.locked", "GET", r"/files/locked"),
    ("files.get", "GET", r"/files/(?P<path>.+)"),
    ("search", "GET", r"/search"),
]


def variable(name):
    value = os.environb.get(name.encode())
    return None if value is None else value.decode("utf-8", "replace")


def decoded(text):
    text = text.replace("+", " ").encode("latin-1", "replace")
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda digits: bytes([int(digits[1], 16)]), text).decode("utf-8", "replace")


def main():
    method, path, query = variable("REQUEST_METHOD"), variable("PATH_INFO") or "", variable("QUERY_STRING") or ""
    sys.stdin.buffer.read(int(variable("CONTENT_LENGTH") or 0))
    matches = ((name, re.fullmatch(pattern, path, re.DOTALL)) for name, own, pattern in ROUTES if own == method)
    route, match = next(((name, match) for name, match in matches if match), (None, None))
    parameters = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        parameters.setdefault(decoded(name), decoded(value))
    answer = {
        "route": route,
        "method": method,
        "path": path,
        "query": query,
        "values": match.groupdict() if match else {},
        "tenant": parameters.get("tenant"),
        "q": parameters.get("q"),
        "org": variable("HTTP_X_ORG"),
        "agent": variable("HTTP_X_CALLGATE_AGENT"),
    }
    print("Status: 200\r\nContent-Type: application/json\r\n\r\n" + json.dumps(answer), end="")


main()
