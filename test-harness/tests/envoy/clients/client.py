"""What the clients of these tests share: keys from JWKs, what an answer asks for, and the way to the gateway."""

import base64
import json
import os
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

API = "https://api.example.com"
GATEWAY = os.environ["GATEWAY"]
KEY = json.loads(os.environ["KEY"])


def private_key(jwk):
    """The private key of a JWK, as `cryptography` has it."""
    secret = base64.urlsafe_b64decode(jwk["d"] + "=" * (-len(jwk["d"]) % 4))
    if jwk["kty"] == "OKP":
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    curve = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}[jwk["crv"]]
    return ec.derive_private_key(int.from_bytes(secret, "big"), curve())


def algorithm(algorithms, jwk):
    """The library's name for the key's algorithm."""
    names = {"Ed25519": "ED25519", "P-256": "ECDSA_P256_SHA256", "P-384": "ECDSA_P384_SHA384"}
    return getattr(algorithms, names[jwk["crv"]])


def wanted(accept_signature):
    """What a gate asks a signature to be (RFC 9421, section 5.1): label, components and parameters of the first member."""
    import http_sf

    label, (components, parameters) = next(iter(http_sf.parse(accept_signature.encode(), tltype="dictionary").items()))
    return label, [name for name, _ in components], parameters


def report(status, body):
    """Prints the status of one exchange, and the code of a denial."""
    print(status, json.loads(body)["code"] if status >= 400 else "", flush=True)


def gateway_adapter():
    """An adapter of `requests` that sends requests for the API to the gateway under test, as DNS and TLS would."""
    import requests

    class Gateway(requests.adapters.HTTPAdapter):
        def send(self, request, **arguments):
            sent = request.copy()
            authority = urllib.parse.urlsplit(request.url).netloc
            sent.headers["Host"] = authority
            sent.url = GATEWAY + request.url.split(authority, 1)[1]
            response = super().send(sent, **arguments)
            response.request, response.url = request, request.url
            report(response.status_code, response.content)
            return response

    return Gateway()
