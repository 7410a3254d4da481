"""A server with the MCP SDK 2 and a tool that ends only when its call is cancelled. PORT is the argument."""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

server = MCPServer("waiting", log_level="WARNING")

# The jobs whose calls were cancelled.
CANCELLED = set()


@server.tool()
async def wait(job: str, ctx: Context) -> str:
    """Waits for a minute."""
    await ctx.report_progress(1, 2, "running")
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        CANCELLED.add(job)
        raise
    return f"{job} was not cancelled"


@server.tool()
async def ending(job: str) -> str:
    """Returns how a job ended, after at most ten seconds."""
    with anyio.fail_after(10):
        while job not in CANCELLED:
            await anyio.sleep(0.02)
    return f"{job} was cancelled"


server.run(
    "streamable-http",
    port=int(sys.argv[1]),
    transport_security=TransportSecuritySettings(allowed_hosts=["payments.example.com", "127.0.0.1:*"]),
)
