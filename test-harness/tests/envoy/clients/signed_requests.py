"""Signs with requests-http-signature: its defaults first, then what the answer asks for. METHOD and PATH are arguments."""

import sys

import requests
from client import API, KEY, algorithm, gateway_adapter, private_key, wanted
from http_message_signatures import MappingKeyResolver
from requests_http_signature import HTTPSignatureAuth, algorithms

method, path = sys.argv[1:]
session = requests.Session()
session.mount(API, gateway_adapter())
resolver = MappingKeyResolver(private_keys={KEY["kid"]: private_key(KEY)}, public_keys={})
body = {"json": {"name": "x"}} if method == "POST" else {}
arguments = {}
for _ in range(2):
    auth = HTTPSignatureAuth(
        signature_algorithm=algorithm(algorithms, KEY), key_id=KEY["kid"], key_resolver=resolver, **arguments
    )
    answer = session.request(method, API + path, auth=auth, **body)
    asked = answer.headers.get("Accept-Signature")
    if answer.ok or asked is None:
        break
    label, components, parameters = wanted(asked)
    arguments = {
        "label": label,
        "covered_component_ids": components,
        "tag": parameters.get("tag"),
        "use_nonce": "nonce" in parameters,
    }
