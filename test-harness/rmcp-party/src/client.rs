//! The client: it performs steps, and prints what the SDK shows to its user.

use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use rmcp::model::{ClientRequest, PingRequest, ProgressNotificationParam, ProtocolVersion};
use rmcp::service::{ClientInitializeError, NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::authorization::Authorization;
use crate::text::text;

/// The host that users know. The gateway's address is in the variable `GATEWAY`.
const SERVER: &str = "payments.example.com";
const CHANGED: &str = "notifications/resources/list_changed";
/// A step that takes longer got no answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The tool that reports its progress, and how many notifications it sends.
const REPORTING: (&str, usize) = ("create_payment", 2);
/// Progress that takes longer than this after the result of its tool is lost.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(5);

type Session = RunningService<RoleClient, Hearing>;

/// What arrived in the session apart from responses.
#[derive(Clone, Default)]
struct Hearing {
    /// The progress and the message of each notification.
    progress: Arc<Mutex<Vec<(f64, String)>>>,
    progressed: Arc<Notify>,
    changed: Arc<Notify>,
}

impl Hearing {
    /// Waits until this many notifications of progress have arrived.
    ///
    /// The SDK handles each notification in a separate task. It starts these tasks in the order of the messages, but the result of a request
    /// does not wait for them. So a user may get the result first, and the progress in any order.
    async fn await_progress(&self, count: usize) {
        let arrived = async {
            loop {
                // Created before the check, to miss no notification between the two.
                let progressed = self.progressed.notified();
                if self.progress.lock().unwrap_or_else(PoisonError::into_inner).len() >= count {
                    break;
                }
                progressed.await;
            }
        };
        // The line of the step lacks what has not arrived by then.
        let _ = timeout(PROGRESS_PATIENCE, arrived).await;
    }

    /// Returns the messages of the progress since the last request, in the order of the work.
    fn take_progress(&self) -> String {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        progress.drain(..).map(|(_, message)| message + "; ").collect()
    }
}

impl ClientHandler for Hearing {
    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        let message = params.message.map(|message| message.to_string()).unwrap_or_default();
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push((params.progress, message));
        self.progressed.notify_waiters();
    }

    async fn on_resource_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

/// How a session begins.
struct Connection {
    http: reqwest::Client,
    configuration: StreamableHttpClientTransportConfig,
    lifecycle: ClientLifecycleMode,
    hearing: Hearing,
    authorization: Option<Authorization>,
}

impl Connection {
    async fn begin(&self) -> Result<Session, Box<ClientInitializeError>> {
        let (configuration, lifecycle) = (self.configuration.clone(), self.lifecycle.clone());
        let hearing = self.hearing.clone();
        let session = match &self.authorization {
            Some(authorization) => {
                let transport = StreamableHttpClientTransport::with_client(authorization.client(), configuration);
                hearing.serve_with_lifecycle(transport, lifecycle).await
            }
            None => {
                let transport = StreamableHttpClientTransport::with_client(self.http.clone(), configuration);
                hearing.serve_with_lifecycle(transport, lifecycle).await
            }
        };
        session.map_err(Box::new)
    }

    /// Gets a token as the challenge of an answer asks for it. Returns whether the request may be sent again.
    async fn authorize(&self, challenge: Option<&str>) -> Result<bool> {
        let (Some(authorization), Some(challenge)) = (&self.authorization, challenge) else { return Ok(false) };
        authorization.follow(challenge).await?;
        Ok(true)
    }
}

/// Connects, performs the steps and disconnects.
///
/// # Errors
/// When an argument or a variable is wrong. What the server or the gate answers is printed.
pub(crate) async fn run(mode: &str, steps: &[String]) -> Result<()> {
    let gateway = env::var("GATEWAY").context("the variable `GATEWAY` has no address")?;
    // The address is the gateway's, and the host is the one that users know, as with DNS.
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(SERVER))]);
    let http = reqwest::Client::builder().default_headers(headers).build().context("there is no HTTP client")?;
    let mut configuration = StreamableHttpClientTransportConfig::with_uri(format!("{gateway}/mcp"));
    if let Ok(token) = env::var("TOKEN") {
        configuration = configuration.auth_header(token);
    }
    let lifecycle = match mode {
        "auto" => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
        "legacy" => ClientLifecycleMode::Initialize,
        _ => bail!("unknown mode `{mode}`; expected `auto` or `legacy`"),
    };
    let hearing = Hearing::default();
    let authorization = Authorization::from_environment(&http, &gateway).await?;
    let connection = Connection { http, configuration, lifecycle, hearing: hearing.clone(), authorization };
    let mut begun = connection.begin().await;
    let challenge = begun.as_ref().err().and_then(|error| error.auth_challenge());
    if connection.authorize(challenge).await? {
        begun = connection.begin().await;
    }
    let session = match begun {
        Ok(session) => session,
        Err(error) => {
            println!("the session ended: {error}");
            return Ok(());
        }
    };
    println!("connect: done");
    for step in steps {
        let label: Vec<_> = step.split(' ').take(2).collect();
        let mut performed = timeout(PATIENCE, perform(&session, &hearing, step)).await;
        let failed = performed.as_ref().ok().and_then(|performed| performed.as_ref().err());
        if connection.authorize(failed.and_then(ServiceError::auth_challenge)).await? {
            performed = timeout(PATIENCE, perform(&session, &hearing, step)).await;
        }
        let shown = match performed {
            Ok(Ok(shown)) => shown,
            Ok(Err(error)) => failure(&error),
            Err(_) => "no answer".to_owned(),
        };
        println!("{}: {}{shown}", label.join(" "), hearing.take_progress());
    }
    println!("end");
    session.cancel().await.context("the session did not end")?;
    Ok(())
}

async fn perform(session: &Session, hearing: &Hearing, step: &str) -> Result<String, ServiceError> {
    let mut parts = step.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (kind, name, rest) = (next(), next(), next());
    let arguments: Value = serde_json::from_str(rest).unwrap_or_else(|_| json!({}));
    let named = || json!({ "name": name, "arguments": arguments });
    Ok(match (kind, name) {
        ("list", "tools") => names(&json!(session.list_tools(None).await?), "tools"),
        ("list", "resources") => names(&json!(session.list_resources(None).await?), "resources"),
        ("list", "templates") => names(&json!(session.list_resource_templates(None).await?), "resourceTemplates"),
        ("list", "prompts") => names(&json!(session.list_prompts(None).await?), "prompts"),
        ("call", _) => {
            let answer = json!(session.call_tool(model(named())?).await?);
            let (reporting, count) = REPORTING;
            if name == reporting {
                hearing.await_progress(count).await;
            }
            result(&answer)
        }
        ("read", uri) => contents(&json!(session.read_resource(model(json!({ "uri": uri }))?).await?)),
        ("prompt", _) => messages(&json!(session.get_prompt(model(named())?).await?)),
        ("cancel", _) => {
            let progressed = hearing.progressed.notified();
            let call = session.call_tool(model(named())?);
            // The SDK cancels a request whose future is dropped.
            let shown = tokio::select! {
                answer = call => answer.map(|_| "answered")?,
                () = progressed => "cancelled",
            };
            // The other clients show no progress in this step.
            hearing.take_progress();
            shown.to_owned()
        }
        // The SDK has no method for it, and reads the empty result as the first type of result without a required member.
        ("ping", _) => {
            session.send_request(ClientRequest::PingRequest(PingRequest::default())).await?;
            "{}".to_owned()
        }
        ("await", CHANGED) => {
            hearing.changed.notified().await;
            "arrived".to_owned()
        }
        _ => format!("there is no step `{step}`"),
    })
}

/// Reads parameters from their JSON.
fn model<T: serde::de::DeserializeOwned>(json: Value) -> Result<T, ServiceError> {
    // The steps of a test are wrong.
    serde_json::from_value(json).map_err(|_| ServiceError::UnexpectedResponse)
}

fn names(answer: &Value, list: &str) -> String {
    let items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = items.filter_map(|item| item.get("name")?.as_str()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn result(answer: &Value) -> String {
    let texts = texts(answer, "content", "/text");
    match answer.get("structuredContent") {
        _ if answer.get("isError") == Some(&Value::Bool(true)) => format!("failed {texts}"),
        Some(structured) => text(structured),
        None => texts,
    }
}

fn contents(answer: &Value) -> String {
    texts(answer, "contents", "/text")
}

fn messages(answer: &Value) -> String {
    texts(answer, "messages", "/content/text")
}

/// Returns the texts at a pointer into each item of a list.
fn texts(answer: &Value, list: &str, pointer: &str) -> String {
    let items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.pointer(pointer)?.as_str()).collect::<Vec<_>>().join(" ")
}

/// Returns what an error shows, without what differs each time.
fn failure(error: &ServiceError) -> String {
    let ServiceError::McpError(error) = error else { return format!("error {error}") };
    let mut line = format!("error {} {}", error.code.0, error.message);
    if let Some(mut data) = error.data.clone() {
        if let Some(members) = data.as_object_mut() {
            members.remove("decision");
            members.remove("detail");
        }
        line = line + " " + &text(&data);
    }
    line
}
