"""The server of examples/mcp with the MCP SDK 1: the same tools, resources and prompts. PORT is the argument."""

import sys
from typing import Literal

from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ResourceError, ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import BaseModel

server = FastMCP(
    "payments",
    log_level="WARNING",
    port=int(sys.argv[1]),
    transport_security=TransportSecuritySettings(allowed_hosts=["payments.example.com", "127.0.0.1:*"]),
)


class Payment(BaseModel):
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


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def list_payments(tenant: str) -> list[Payment]:
    """Lists the payments of a tenant."""
    return list(LEDGER.get(tenant, {}).values())


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
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
    # Arrives in the event stream that answers GET.
    await ctx.session.send_resource_list_changed()
    return payment


@server.tool(annotations=ToolAnnotations(destructiveHint=True))
def refund_payment(tenant: str, payment: str) -> Payment:
    """Refunds a payment that was made."""
    found = find(tenant, payment)
    if found.status != "paid":
        raise ToolError(f"{payment} is {found.status}")
    found.status = "refunded"
    return found


@server.tool()
def export_ledger() -> dict[str, list[Payment]]:
    """Exports the payments of all tenants."""
    return {tenant: list(payments.values()) for tenant, payments in LEDGER.items()}


@server.resource("payments://ledger/{tenant}/{payment}", mime_type="text/plain")
def receipt(tenant: str, payment: str) -> str:
    """The receipt of a payment."""
    found = LEDGER.get(tenant, {}).get(payment)
    if found is None:
        raise ResourceError(f"there is no payment {payment}")
    return f"{found.id}: {found.amount} to {found.payee}, {found.status}"


@server.prompt()
def reconcile(tenant: str, month: str) -> str:
    """Asks for a comparison of the payments of a month with the bank statement."""
    return f"Compare the payments of {tenant} in {month} with its bank statement, and list the differences."


server.run("streamable-http")
