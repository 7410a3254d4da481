"""MCP SDK 2, as client.py uses it."""

import asyncio
import warnings
from contextlib import asynccontextmanager

import httpx2 as http
from mcp import Client, MCPError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import ServerNotification

# Of what revisions before 2026-07-28 have.
warnings.simplefilter("ignore", MCPDeprecationWarning)

Error = MCPError


def told(raised):
    return raised


def credentials(url, storage, client, secret, issuer):
    return ClientCredentialsOAuthProvider(url, storage, client, secret, issuer=issuer)


def plain(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Session:
    """A session that answers with plain JSON."""

    def __init__(self, client):
        self.client = client
        self.revision = client.protocol_version

    async def list(self, what):
        lists = {
            "tools": (self.client.list_tools, "tools"),
            "resources": (self.client.list_resources, "resources"),
            "templates": (self.client.list_resource_templates, "resourceTemplates"),
            "prompts": (self.client.list_prompts, "prompts"),
        }
        method, member = lists[what]
        return plain(await method())[member]

    async def call(self, name, arguments, progressed):
        async def progress(done, total, message):
            progressed(message)

        return plain(await self.client.call_tool(name, arguments, progress_callback=progress))

    async def cancel(self, name, arguments):
        """Cancels the task that waits for the answer. The SDK then sends what the revision has for it."""
        running = asyncio.Event()
        call = asyncio.create_task(self.call(name, arguments, lambda _: running.set()))
        await running.wait()
        call.cancel()
        await asyncio.wait([call])
        return "cancelled" if call.cancelled() else "answered"

    async def read(self, uri):
        return plain(await self.client.read_resource(uri))

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt(name, arguments))

    async def ping(self):
        return plain(await self.client.send_ping())

    async def listen(self, hear):
        ready = asyncio.get_running_loop().create_future()

        async def follow():
            try:
                async with self.client.listen(resources_list_changed=True) as subscription:
                    ready.set_result(None)
                    async for event in subscription:
                        hear(type(event).__name__)
            except MCPError as raised:
                ready.set_exception(raised)

        self.following = asyncio.create_task(follow())
        await ready


@asynccontextmanager
async def connect(url, client, mode, hear):
    async def handle(message):
        if isinstance(message, ServerNotification):
            hear(message.method)

    transport = streamable_http_client(url, http_client=client)
    async with Client(transport, mode=mode, message_handler=handle) as connected:
        session = Session(connected)
        yield session
        if following := getattr(session, "following", None):
            following.cancel()
