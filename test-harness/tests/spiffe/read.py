"""Reads JWT-SVIDs with the package `spiffe`.

The arguments are a trust domain and an audience. The first line of the input is the bundle of the trust domain, and each further line a
token. Prints one line for each token: the SPIFFE ID in JSON, or `null` for a token that is rejected.
"""

import json
import sys

from spiffe import JwtBundle, JwtSvid, TrustDomain

trust_domain, audience = TrustDomain(sys.argv[1]), {sys.argv[2]}
lines = sys.stdin.read().splitlines()
bundle = JwtBundle.parse(trust_domain, lines[0].encode())


def read(token):
    # The trust domain of the subject chooses the bundle, as in JwtBundleSet.
    if JwtSvid.parse_insecure(token, audience).spiffe_id.trust_domain != trust_domain:
        raise ValueError("another trust domain")
    return str(JwtSvid.parse_and_validate(token, bundle, audience).spiffe_id)


for token in lines[1:]:
    try:
        spiffe_id = read(token)
    except Exception:  # Malformed claims raise errors of several kinds.
        spiffe_id = None
    print(json.dumps(spiffe_id))
