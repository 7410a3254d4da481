"""Requests a URL of the API with the MCP SDK's OAuth client, which knows nothing but the URL and the client's credentials: it discovers
the authorization server from the answer 401, gets a token there, and tries again. Prints each exchange. URL is the argument."""

import asyncio
import os
import sys

import httpx2
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

# Where the hosts listen, instead of DNS and TLS.
SITES = {"api.example.com": os.environ["GATEWAY"], "idp.example.com": os.environ["PROVIDER"]}


class Network(httpx2.AsyncHTTPTransport):
    """Sends requests for the sites to their addresses, and prints them."""

    async def handle_async_request(self, request):
        told = request.url
        address = httpx2.URL(SITES[told.host])
        request.url = told.copy_with(scheme=address.scheme, host=address.host, port=address.port)
        response = await super().handle_async_request(request)
        request.url = told
        print(request.method, told, response.status_code, flush=True)
        return response


class Tokens:
    """Keeps what the client gets, in memory."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url):
    provider = ClientCredentialsOAuthProvider(
        server_url=url,
        storage=Tokens(),
        client_id="robot",
        client_secret=os.environ["SECRET"],
        issuer="https://idp.example.com",
    )
    async with httpx2.AsyncClient(transport=Network(), auth=provider) as client:
        for _ in range(2):
            await client.get(url)


asyncio.run(main(sys.argv[1]))
