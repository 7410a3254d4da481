"""A client of an MCP server, with the MCP SDK that is installed: 1.30.0 or 2.3.0. It knows the server by the URL that users have, and sends
what its arguments list, one step after the other. It prints a line for each step: what the SDK shows to its user.

The first argument is how to connect: `auto`, `legacy`, or a revision (SDK 2); SDK 1 ignores it. Each other argument is a step:

    list tools | list resources | list templates | list prompts
    call NAME ARGUMENTS | read URI | prompt NAME ARGUMENTS | ping
    cancel NAME ARGUMENTS  calls a tool, and cancels the call after its first progress
    await METHOD        waits for this notification
    listen              subscribes to changes of the resources (SDK 2 with 2026-07-28)
    both STEP & STEP    sends two requests at the same time

TOKEN in the environment is the access token. With SECRET instead, the SDK's OAuth client gets one, and each HTTP exchange is printed.
"""

import asyncio
import contextlib
import json
import os
import sys

try:
    import sdk2 as sdk
except ImportError:
    import sdk1 as sdk

URL = "https://payments.example.com/mcp"
# Where the hosts listen, instead of DNS and TLS.
SITES = {"payments.example.com": os.environ["GATEWAY"], "idp.example.com": os.environ.get("PROVIDER")}
# A step that takes longer got no answer.
PATIENCE = 20


def say(line):
    print(line, flush=True)


def as_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


class Network(sdk.http.AsyncHTTPTransport):
    """Sends requests for the sites to their addresses. Prints the exchanges if there is an authorization server to find."""

    async def handle_async_request(self, request):
        told = request.url
        address = sdk.http.URL(SITES[told.host])
        request.url = told.copy_with(scheme=address.scheme, host=address.host, port=address.port)
        response = await super().handle_async_request(request)
        request.url = told
        what = sent(request)
        # A notification, and the request for the stream of the server's messages, are sent at some moment between two steps.
        between = what.startswith("notifications/") or (request.method == "GET" and str(told) == URL)
        if SITES["idp.example.com"] and not between:
            say(f"  {request.method} {told.host}{told.path} {what}{response.status_code}")
        return response


def sent(request):
    """What a request asks for: the method of its JSON-RPC message, or the scope of a token request."""
    body = request.content.decode()
    if body.startswith("{"):
        return json.loads(body)["method"] + " "
    scopes = [part[6:] for part in body.split("&") if part.startswith("scope=")]
    return "".join(scope.replace("+", " ").replace("%3A", ":") + " " for scope in scopes)


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


def error(raised):
    """What an error of the protocol shows, without what differs each time."""
    data = raised.data
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in ("decision", "detail")}
    return f"error {raised.code} {raised.message}" + ("" if data is None else f" {as_json(data)}")


def shown(result):
    """The part of a result that a user sees."""
    if "content" in result:
        texts = [item.get("text", item["type"]) for item in result["content"]]
        if result.get("isError"):
            return "failed " + " ".join(texts)
        return as_json(result.get("structuredContent", texts))
    if "contents" in result:
        return " ".join(item["text"] for item in result["contents"])
    if "messages" in result:
        return " ".join(message["content"]["text"] for message in result["messages"])
    return as_json({name: value for name, value in result.items() if not name.startswith("_")})


class Steps:
    """Performs the steps in a session."""

    session = None

    def __init__(self):
        self.arrived = []
        self.news = asyncio.Event()

    def hear(self, method):
        self.arrived.append(method)
        self.news.set()

    async def perform(self, step):
        kind, _, rest = step.partition(" ")
        name, _, text = rest.partition(" ")
        match kind:
            case "list":
                items = await self.session.list(name)
                return " ".join(item.get("name") for item in items) or "nothing"
            case "call":
                progress = []
                result = await self.session.call(name, json.loads(text or "{}"), progress.append)
                return "".join(f"{message}; " for message in progress) + shown(result)
            case "cancel":
                return await self.session.cancel(name, json.loads(text or "{}"))
            case "read":
                return shown(await self.session.read(name))
            case "prompt":
                return shown(await self.session.prompt(name, json.loads(text or "{}")))
            case "ping":
                return shown(await self.session.ping())
            case "await":
                while name not in self.arrived:
                    self.news.clear()
                    await self.news.wait()
                self.arrived.remove(name)
                return "arrived"
            case "listen":
                await self.session.listen(self.hear)
                return "subscribed"
        raise ValueError(step)

    async def run(self, step):
        try:
            return await asyncio.wait_for(self.perform(step), PATIENCE)
        except sdk.Error as raised:
            return error(sdk.told(raised))
        except TimeoutError:
            return "no answer"


def causes(raised):
    """The exceptions in a group, at any depth."""
    if isinstance(raised, BaseExceptionGroup):
        for inner in raised.exceptions:
            yield from causes(inner)
    else:
        yield raised


def ending(raised):
    """What an exception that ends a session shows. SDK 1 ends it for every status but 200."""
    if isinstance(raised, sdk.Error):
        return error(sdk.told(raised))
    if isinstance(raised, sdk.http.HTTPStatusError):
        return f"HTTP {raised.response.status_code}"
    return None


async def main(mode, steps):
    async with contextlib.AsyncExitStack() as stack:
        auth, headers = None, {}
        if "SECRET" in os.environ:
            auth = sdk.credentials(URL, Tokens(), "robot", os.environ["SECRET"], "https://idp.example.com")
        elif "TOKEN" in os.environ:
            headers["Authorization"] = f"Bearer {os.environ['TOKEN']}"
        http = sdk.http.AsyncClient(transport=Network(), auth=auth, headers=headers, timeout=30)
        await stack.enter_async_context(http)
        performing = Steps()
        performing.session = await stack.enter_async_context(sdk.connect(URL, http, mode, performing.hear))
        say(f"connect: {performing.session.revision}")
        for step in steps:
            # Two steps at the same time answer in their order.
            pair = step.removeprefix("both ").split(" & ")
            answers = await asyncio.gather(*(performing.run(step) for step in pair))
            for step, answer in zip(pair, answers):
                say(f"{' '.join(step.split(' ', 2)[:2])}: {answer}")
        say("end")


try:
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
except Exception as raised:
    said = [line for cause in causes(raised) if (line := ending(cause))]
    if not said:
        raise
    say(f"the session ended: {said[0]}")
