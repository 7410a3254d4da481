"""Publishes a file, signed with the build agent's key: client.py NAME FILE.

It begins with what the library signs by itself. Where the gate asks for more, the answer says so in `Accept-Signature`, and the
call is signed again as it says. Needs: pip install http-message-signatures==3.0.0
"""

import base64
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import http_sf
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

# What is signed is the URL that clients know; GATEWAY is where it answers, which is elsewhere in tests.
API = "https://artifacts.example.com"
GATEWAY = os.environ.get("GATEWAY", API)
KEY = os.environ.get("KEY", os.path.join(os.path.dirname(__file__), "keys", "build-agent.jwk.json"))


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.jwk = json.load(file)

    def resolve_private_key(self, key_id):
        seed = self.jwk["d"]
        return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(seed + "=" * (-len(seed) % 4)))

    def resolve_public_key(self, key_id):
        return self.resolve_private_key(key_id).public_key()


def wanted(accept_signature):
    """The arguments with which to sign as a gate asks (RFC 9421, section 5.1)."""
    label, (components, parameters) = next(iter(http_sf.parse(accept_signature.encode(), tltype="dictionary").items()))
    arguments = {"label": label, "covered_component_ids": [name for name, _ in components]}
    if "nonce" in parameters:
        arguments["nonce"] = secrets.token_urlsafe(16)
    if "tag" in parameters:
        arguments["tag"] = parameters["tag"]
    return arguments


def call(method, path, body, content_type, arguments):
    keys = Keys(KEY)
    message = SimpleNamespace(method=method, url=API + path, headers={"Content-Type": content_type}, body=body)
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    signer.sign(message, key_id=keys.jwk["kid"], body=body, **arguments)
    headers = {**message.headers, "Host": API.split("://")[1]}
    request = urllib.request.Request(GATEWAY + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def main(name, path):
    with open(path, "rb") as file:
        body = file.read()
    arguments = {}
    # The first answer names what any endpoint needs, and the next, to a client that is authenticated, what this one requires as well.
    for _ in range(3):
        status, headers, answer = call(
            "PUT", f"/projects/gateway/artifacts/{name}", body, "application/octet-stream", arguments
        )
        print(status, json.loads(answer).get("code", "") if status >= 400 else "published")
        asked = headers.get("Accept-Signature")
        if status < 400 or asked is None:
            break
        arguments = wanted(asked)
    sys.exit(0 if status < 400 else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
