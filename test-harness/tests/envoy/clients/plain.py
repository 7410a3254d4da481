"""Signs with http-message-signatures: its defaults first, then what the answer asks for. METHOD and PATH are arguments."""

import secrets
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

from client import API, GATEWAY, KEY, algorithm, private_key, report, wanted
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms


def call(method, path, body, arguments):
    headers = {"Content-Type": "application/json"} if body else {}
    message = SimpleNamespace(method=method, url=API + path, headers=headers)
    resolver = MappingKeyResolver(private_keys={KEY["kid"]: private_key(KEY)}, public_keys={})
    signer = HTTPMessageSigner(signature_algorithm=algorithm(algorithms, KEY), key_resolver=resolver)
    signer.sign(message, key_id=KEY["kid"], body=body, **arguments)
    headers = {**message.headers, "Host": API.split("://")[1]}
    request = urllib.request.Request(GATEWAY + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


method, path = sys.argv[1:]
body = b'{"name": "x"}' if method == "POST" else None
arguments = {}
for _ in range(2):
    status, headers, answer = call(method, path, body, arguments)
    report(status, answer)
    asked = headers.get("Accept-Signature")
    if status < 400 or asked is None:
        break
    label, components, parameters = wanted(asked)
    arguments = {"label": label, "covered_component_ids": components, "tag": parameters.get("tag")}
    if "nonce" in parameters:
        arguments["nonce"] = secrets.token_urlsafe(16)
