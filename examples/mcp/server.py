"""The payments of several tenants as an MCP server: server.py [PORT]. Needs: pip install mcp==2.3.0

It trusts every request that it gets: the gate in front of it decides who may use which tool for which tenant. So it listens on the
loopback interface alone.
"""

import sys
from typing import Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import BaseModel

# The hosts by which clients reach it: through the gate, and directly while you try it out.
HOSTS = ["payments.example.com", "127.0.0.1:*"]

server = MCPServer("payments", version="1.4.0", log_level="WARNING")


class Payment(BaseModel):
    """A payment."""

    id: str
    payee: str
    amount: float
    status: Literal["open", "paid", "refunded"]


LEDGER = {
    "acme": {
        "p-1": Payment(id="p-1", payee="Paper Ltd", amount=120.5, status="paid"),
        "p-2": Payment(id="p-2", payee="Chairs Inc", amount=900, status="open"),
    },
    "globex": {"p-9": Payment(id="p-9", payee="Reactor Parts", amount=50000, status="paid")},
}


def find(tenant: str, payment: str) -> Payment:
    try:
        return LEDGER[tenant][payment]
    except KeyError:
        raise ToolError(f"there is no payment {payment}") from None


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def list_payments(tenant: str) -> list[Payment]:
    """Lists the payments of a tenant."""
    return list(LEDGER.get(tenant, {}).values())


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def get_payment(tenant: str, payment: str) -> Payment:
    """Returns one payment."""
    return find(tenant, payment)


@server.tool()
async def create_payment(tenant: str, payee: str, amount: float, ctx: Context) -> Payment:
    """Starts a payment, and reports its progress."""
    for step, what in enumerate(["checked", "booked"], start=1):
        await ctx.report_progress(step, 2, what)
    payments = LEDGER.setdefault(tenant, {})
    payment = Payment(id=f"p-{100 + len(payments)}", payee=payee, amount=amount, status="open")
    payments[payment.id] = payment
    # There is a new receipt: the first line reaches clients from 2026-07-28 on, the second the sessions of earlier ones.
    await ctx.notify_resources_changed()
    await ctx.session.send_resource_list_changed()
    return payment


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def refund_payment(tenant: str, payment: str) -> Payment:
    """Refunds a payment that was made."""
    found = find(tenant, payment)
    if found.status != "paid":
        raise ToolError(f"{payment} is {found.status}")
    found.status = "refunded"
    return found


@server.tool()
def export_ledger() -> dict[str, list[Payment]]:
    """Exports the payments of all tenants. A migration needed it, and nobody removed it."""
    return {tenant: list(payments.values()) for tenant, payments in LEDGER.items()}


@server.resource("payments://ledger/{tenant}/{payment}", mime_type="text/plain")
def receipt(tenant: str, payment: str) -> str:
    """The receipt of a payment."""
    found = LEDGER.get(tenant, {}).get(payment)
    if found is None:
        raise ResourceNotFoundError(f"there is no payment {payment}")
    return f"{found.id}: {found.amount} to {found.payee}, {found.status}"


@server.prompt()
def reconcile(tenant: str, month: str) -> str:
    """Asks for a comparison of the payments of a month with the bank statement."""
    return f"Compare the payments of {tenant} in {month} with its bank statement, and list the differences."


if __name__ == "__main__":
    server.run(
        "streamable-http",
        port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080,
        transport_security=TransportSecuritySettings(allowed_hosts=HOSTS),
    )
