"""MCP SDK 1, as client.py uses it."""

import asyncio
from contextlib import asynccontextmanager

import httpx as http
from mcp import ClientSession, McpError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification, ServerNotification
from pydantic import AnyUrl

Error = McpError


def told(raised):
    return raised.error


def credentials(url, storage, client, secret, issuer):
    return ClientCredentialsOAuthProvider(url, storage, client, secret, issuer=issuer)


def plain(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Session:
    """A session that answers with plain JSON."""

    def __init__(self, session, revision):
        self.session = session
        self.revision = revision

    async def list(self, what):
        lists = {
            "tools": (self.session.list_tools, "tools"),
            "resources": (self.session.list_resources, "resources"),
            "templates": (self.session.list_resource_templates, "resourceTemplates"),
            "prompts": (self.session.list_prompts, "prompts"),
        }
        method, member = lists[what]
        return plain(await method())[member]

    async def call(self, name, arguments, progressed):
        async def progress(done, total, message):
            progressed(message)

        return plain(await self.session.call_tool(name, arguments, progress_callback=progress))

    async def cancel(self, name, arguments):
        """Sends the notification, which this SDK leaves to its user, and waits until the server ends the call with an error."""
        running = asyncio.Event()
        # The SDK does not report the id of a request. It is the next one.
        params = CancelledNotificationParams(requestId=self.session._request_id)
        call = asyncio.create_task(self.call(name, arguments, lambda _: running.set()))
        await running.wait()
        await self.session.send_notification(ClientNotification(CancelledNotification(params=params)))
        try:
            await call
        except McpError:
            return "cancelled"
        return "answered"

    async def read(self, uri):
        return plain(await self.session.read_resource(AnyUrl(uri)))

    async def prompt(self, name, arguments):
        return plain(await self.session.get_prompt(name, arguments))

    async def ping(self):
        return plain(await self.session.send_ping())


@asynccontextmanager
async def connect(url, client, _mode, hear):
    async def handle(message):
        if isinstance(message, ServerNotification):
            hear(message.root.method)

    async with streamable_http_client(url, http_client=client) as (receive, send, _):
        async with ClientSession(receive, send, message_handler=handle) as session:
            initialized = await session.initialize()
            yield Session(session, initialized.protocolVersion)
