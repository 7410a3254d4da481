"""Sends two requests with a bound token by requests_oauth2client, which answers nonce challenges by itself. PATH is the argument."""

import os
import sys

import requests
from client import API, KEY, gateway_adapter
from requests_oauth2client import DPoPKey, DPoPToken

session = requests.Session()
session.mount(API, gateway_adapter())
token = DPoPToken(access_token=os.environ["TOKEN"], _dpop_key=DPoPKey(private_key=KEY))
for _ in range(2):
    session.get(API + sys.argv[1], auth=token)
