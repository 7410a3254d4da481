//! The server of `examples/mcp`. Definitions and results are written as the JSON that the protocol has.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The hosts by which clients reach it: through the gate, and directly.
const HOSTS: [&str; 2] = ["payments.example.com", "127.0.0.1"];

/// The payments of each tenant, by their ids.
type Ledger = BTreeMap<String, BTreeMap<String, Value>>;

/// Serves until it is stopped.
///
/// # Errors
/// When the port is in use.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let payments = Payments { ledger: Arc::new(Mutex::new(ledger())) };
    let configuration = StreamableHttpServerConfig::default().with_legacy_session_mode(true).with_allowed_hosts(HOSTS);
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(payments.clone()), sessions, configuration);
    let service = TowerToHyperService::new(service);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("cannot listen")?;
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        let service = service.clone();
        tokio::spawn(async move {
            // A client that goes away needs no answer.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn ledger() -> Ledger {
    let payment = |id: &str, payee: &str, amount: f64, status: &str| {
        (id.to_owned(), json!({ "id": id, "payee": payee, "amount": amount, "status": status }))
    };
    let acme = [payment("p-1", "Paper Ltd", 120.5, "paid"), payment("p-2", "Chairs Inc", 900.0, "open")];
    let globex = [payment("p-9", "Reactor Parts", 50_000.0, "paid")];
    BTreeMap::from([("acme".to_owned(), acme.into()), ("globex".to_owned(), globex.into())])
}

#[derive(Clone)]
struct Payments {
    ledger: Arc<Mutex<Ledger>>,
}

impl Payments {
    fn find(&self, tenant: &str, payment: &str) -> Option<Value> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).get(tenant)?.get(payment).cloned()
    }

    fn list(&self, tenant: &str) -> Value {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.get(tenant).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    fn add(&self, tenant: &str, payee: &str, amount: &Value) -> Value {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let payments = ledger.entry(tenant.to_owned()).or_default();
        let id = format!("p-{}", 100 + payments.len());
        let payment = json!({ "id": id, "payee": payee, "amount": amount.as_f64(), "status": "open" });
        payments.insert(id, payment.clone());
        payment
    }

    /// Returns the structured result of a tool, or why it failed.
    async fn use_tool(
        &self,
        name: &str,
        arguments: &Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, String> {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
        let missing = || format!("there is no payment {}", text("payment"));
        match name {
            "list_payments" => Ok(json!({ "result": self.list(text("tenant")) })),
            "get_payment" => self.find(text("tenant"), text("payment")).ok_or_else(missing),
            "create_payment" => {
                report_progress(context).await;
                let amount = arguments.get("amount").unwrap_or(&Value::Null);
                let payment = self.add(text("tenant"), text("payee"), amount);
                // A client without a stream for it does not need it.
                let _ = context.peer.notify_resource_list_changed().await;
                Ok(payment)
            }
            "refund_payment" => {
                let payment = self.find(text("tenant"), text("payment")).ok_or_else(missing)?;
                match payment.get("status").and_then(Value::as_str) {
                    Some("paid") => Ok(payment),
                    other => Err(format!("{} is {}", text("payment"), other.unwrap_or_default())),
                }
            }
            "export_ledger" => Ok(json!({ "acme": self.list("acme"), "globex": self.list("globex") })),
            other => Err(format!("Unknown tool: {other}")),
        }
    }
}

async fn report_progress(context: &RequestContext<RoleServer>) {
    let Some(token) = context.meta.get_progress_token() else { return };
    for (step, what) in [(1, "checked"), (2, "booked")] {
        let progress = json!({ "progressToken": token, "progress": step, "total": 2, "message": what });
        if let Ok(progress) = serde_json::from_value(progress) {
            // A client that went away needs no progress.
            let _ = context.peer.notify_progress(progress).await;
        }
    }
}

/// Reads a result from its JSON. Since 2026-07-28, every result has a type. The SDK removes it for clients of earlier revisions, and adds what
/// else the newest requires.
fn model<T: serde::de::DeserializeOwned>(mut json: Value) -> Result<T, ErrorData> {
    if let Some(result) = json.as_object_mut() {
        result.insert("resultType".to_owned(), json!("complete"));
    }
    serde_json::from_value(json).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn tool(name: &str, description: &str, properties: &Value, required: &[&str]) -> Value {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "name": name, "description": description, "inputSchema": schema })
}

impl ServerHandler for Payments {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_prompts().enable_resources().enable_tools().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("payments", "1.4.0"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (text, number) = (json!({ "type": "string" }), json!({ "type": "number" }));
        let one = json!({ "tenant": text, "payment": text });
        let new = json!({ "tenant": text, "payee": text, "amount": number });
        model(json!({ "tools": [
            tool("list_payments", "Lists the payments of a tenant.", &json!({ "tenant": text }), &["tenant"]),
            tool("get_payment", "Returns one payment.", &one, &["tenant", "payment"]),
            tool("create_payment", "Starts a payment, and reports its progress.", &new, &["tenant", "payee", "amount"]),
            tool("refund_payment", "Refunds a payment that was made.", &one, &["tenant", "payment"]),
            tool("export_ledger", "Exports the payments of all tenants.", &json!({}), &[]),
        ] }))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let (text, structured, failed) = match self.use_tool(&request.name, &arguments, &context).await {
            Ok(result) => (result.to_string(), Some(result), false),
            Err(why) => (why, None, true),
        };
        let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": failed });
        if let (Some(result), Some(structured)) = (result.as_object_mut(), structured) {
            result.insert("structuredContent".to_owned(), structured);
        }
        Ok(model::<CallToolResult>(result)?.into())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        model(json!({ "resourceTemplates": [
            { "name": "receipt", "uriTemplate": "payments://ledger/{tenant}/{payment}", "mimeType": "text/plain" },
        ] }))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let found = request.uri.strip_prefix("payments://ledger/").and_then(|path| path.split_once('/'));
        let found = found.and_then(|(tenant, payment)| self.find(tenant, payment));
        let payment = found.ok_or_else(|| ErrorData::resource_not_found("there is no such payment", None))?;
        let member = |name: &str| match payment.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let text = format!("{}: {} to {}, {}", member("id"), member("amount"), member("payee"), member("status"));
        let contents = json!({ "contents": [{ "uri": request.uri, "mimeType": "text/plain", "text": text }] });
        Ok(model::<ReadResourceResult>(contents)?.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let arguments = json!([{ "name": "tenant", "required": true }, { "name": "month", "required": true }]);
        model(json!({ "prompts": [{ "name": "reconcile", "arguments": arguments }] }))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = json!(request.arguments);
        let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
        let text = format!(
            "Compare the payments of {} in {} with its bank statement, and list the differences.",
            argument("tenant"),
            argument("month")
        );
        let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
        Ok(model::<GetPromptResult>(json!({ "messages": [message] }))?.into())
    }
}
