//! The published example messages of 2026-07-28: each message of a client reaches the server unchanged, and each message of a server the
//! client. An example that is a part of a message, such as a content block, is sent in one. The messages are third-party data, which are
//! not part of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use super::messages::{self, event};
use super::suite::Suite;
use super::target::{Allowed, free_tool};
use super::upstream::{Answer, Piece, always, succeeds};
use super::{Gateway, start};

/// The requests of clients: the beginning of the names of their types, and their methods.
const REQUESTS: [(&str, &str); 10] = [
    ("CallTool", "tools/call"),
    ("Complete", "completion/complete"),
    ("Discover", "server/discover"),
    ("GetPrompt", "prompts/get"),
    ("ListPrompts", "prompts/list"),
    ("ListResourceTemplates", "resources/templates/list"),
    ("ListResources", "resources/list"),
    ("ListTools", "tools/list"),
    ("ReadResource", "resources/read"),
    ("SubscriptionsListen", "subscriptions/listen"),
];

/// The members of results that are lists.
const LISTS: [&str; 4] = ["prompts", "resourceTemplates", "resources", "tools"];

/// The notifications on the stream of a subscription. The others belong to a request.
const SUBSCRIBED: [&str; 5] = [
    "PromptListChangedNotification",
    "ResourceListChangedNotification",
    "ResourceUpdatedNotification",
    "SubscriptionsAcknowledgedNotification",
    "ToolListChangedNotification",
];

/// What a gateway does with the lists of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// It filters them. All their entries are allowed, so it may only change who shares a cached list, since that depends on the client.
    Filtered,
    /// It does not change them.
    Unfiltered,
}

/// What became of the example messages.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// How many messages of clients were sent.
    pub sent: usize,
    /// How many messages of servers were sent.
    pub answered: usize,
    /// How many of those have a list that all clients share, and that a gateway makes private if it filters lists.
    pub shared: usize,
    /// The examples that no message was found for.
    pub unused: Vec<String>,
    /// The messages that were denied or changed, each with what was seen.
    pub changed: Vec<String>,
}

/// An example.
struct Example {
    /// The name of its type.
    kind: String,
    /// The name of its type and of its file.
    name: String,
    text: String,
    message: Value,
}

/// A message of a client, or of a server in response to a request of this type.
enum Role {
    Sent(String),
    Answered { to: &'static str, answer: Answer, body: Vec<u8> },
}

/// Sends the example messages in a folder through a gateway.
///
/// # Errors
/// When a file cannot be read, or the gateway does not start.
pub fn examples(folder: &Path, gateway: &Gateway, lists: Lists) -> Result<Examples> {
    let examples = load(folder)?;
    let messages: Vec<_> = examples.iter().map(|example| (example, role(example, &examples))).collect();
    let suite = start(gateway, &allowed(&examples, lists))?;
    let mut found = Examples::default();
    for (example, role) in messages {
        let seen = match role {
            None => {
                found.unused.push(example.name.clone());
                continue;
            }
            Some(Role::Sent(body)) => {
                found.sent += 1;
                is_forwarded(&suite, &body)?
            }
            Some(Role::Answered { to, answer, body }) => {
                found.answered += 1;
                let private = with_private_list(&body);
                found.shared += usize::from(private.is_some());
                let expected = private.filter(|_| lists == Lists::Filtered).unwrap_or(body);
                is_returned(&suite, request(&examples, to)?, answer, &expected)?
            }
        };
        found.changed.extend(seen.map(|seen| format!("{}: {seen}", example.name)));
    }
    Ok(found)
}

/// Reads all examples, in the order of their names.
fn load(folder: &Path) -> Result<Vec<Example>> {
    let entries = |folder: &Path| -> Result<Vec<_>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut examples = Vec::new();
    for kind in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&kind)? {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let message = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
            let name = format!("{}/{}", last(&kind), last(&file));
            examples.push(Example { kind: last(&kind), name, text, message });
        }
    }
    ensure!(!examples.is_empty(), "{} contains no example messages", folder.display());
    Ok(examples)
}

/// Returns the example of a request.
fn request<'e>(examples: &'e [Example], kind: &str) -> Result<&'e Value> {
    let wanted = format!("{kind}Request");
    let found = examples.iter().find(|example| example.kind == wanted);
    Ok(&found.with_context(|| format!("there is no example of `{wanted}`"))?.message)
}

/// Returns the message of a client or a server that an example is, or is a part of.
fn role(example: &Example, examples: &[Example]) -> Option<Role> {
    let kind = example.kind.as_str();
    let whole = |to: &'static str, status: u16, message: String| {
        let body = message.clone().into_bytes();
        Role::Answered { to, answer: Answer::json(status, message), body }
    };
    let id = |to: &str| request(examples, to).ok().and_then(|request| request.get("id").cloned()).unwrap_or_default();
    for (name, method) in REQUESTS {
        let Some(rest) = kind.strip_prefix(name) else { continue };
        let message = example.message.clone();
        match rest {
            "Request" => return Some(Role::Sent(example.text.clone())),
            "RequestParams" => return Some(Role::Sent(messages::request(1, method, message).to_string())),
            "ResultResponse" => return Some(whole(name, 200, example.text.clone())),
            "Result" => return Some(whole(name, 200, messages::result(&id(name), message).to_string())),
            _ => {}
        }
    }
    let call = "CallTool";
    let notified = |to: &'static str, message: &Value| {
        let stream = event(message);
        let answer = Answer::events(vec![Piece::text(stream.clone())]);
        Role::Answered { to, answer, body: stream.into_bytes() }
    };
    if let Some((to, result)) = result_with(kind, &example.message) {
        return Some(whole(to, 200, messages::result(&id(to), result).to_string()));
    }
    if let Some(params) = params_with(kind, &example.message) {
        let mut message = request(examples, call).ok()?.clone();
        message.pointer_mut("/params")?.as_object_mut()?.extend(params);
        return Some(Role::Sent(message.to_string()));
    }
    match kind {
        "CancelledNotification" => Some(Role::Sent(example.text.clone())),
        "PaginatedRequestParams" => {
            Some(Role::Sent(messages::request(1, "tools/list", example.message.clone()).to_string()))
        }
        "InputRequiredResult" => {
            Some(whole(call, 200, messages::result(&id(call), example.message.clone()).to_string()))
        }
        "CancelledNotificationParams" => {
            Some(Role::Sent(messages::notification("notifications/cancelled", example.message.clone()).to_string()))
        }
        "LoggingMessageNotificationParams" => {
            Some(notified(call, &messages::notification("notifications/message", example.message.clone())))
        }
        "ProgressNotificationParams" => {
            Some(notified(call, &messages::notification("notifications/progress", example.message.clone())))
        }
        "ResourceUpdatedNotificationParams" => {
            let message = messages::notification("notifications/resources/updated", example.message.clone());
            Some(notified("SubscriptionsListen", &message))
        }
        _ if kind.ends_with("Notification") => {
            let to = if SUBSCRIBED.contains(&kind) { "SubscriptionsListen" } else { call };
            Some(notified(to, &example.message))
        }
        _ if kind.ends_with("Error") && example.message.get("jsonrpc").is_some() => {
            Some(whole(call, 400, example.text.clone()))
        }
        _ if kind.ends_with("Error") => {
            let error = json!({ "jsonrpc": "2.0", "id": id(call), "error": example.message });
            Some(whole(call, 400, error.to_string()))
        }
        _ => None,
    }
}

/// Returns a result of a server with an example in it, and the type of the request that has such a result.
fn result_with(kind: &str, part: &Value) -> Option<(&'static str, Value)> {
    let asks = |requests: Value| ("CallTool", json!({ "resultType": "input_required", "inputRequests": requests }));
    let asks_for = |method: &str, params: Value| asks(json!({ "a": { "method": method, "params": params } }));
    let sampling = |params: Value| asks_for("sampling/createMessage", params);
    let elicitation = |params: Value| asks_for("elicitation/create", params);
    Some(match kind {
        "AudioContent" | "EmbeddedResource" | "ImageContent" | "ResourceLink" | "TextContent" => {
            ("CallTool", json!({ "content": [part] }))
        }
        "BlobResourceContents" | "TextResourceContents" => ("ReadResource", json!({ "contents": [part] })),
        "Resource" => ("ListResources", json!({ "resources": [part] })),
        "Tool" => ("ListTools", json!({ "tools": [part] })),
        "ServerCapabilities" => ("Discover", json!({ "supportedVersions": [messages::MODERN], "capabilities": part })),
        "InputRequests" => asks(part.clone()),
        "CreateMessageRequest" | "ElicitRequest" | "ListRootsRequest" => asks(json!({ "a": part })),
        "CreateMessageRequestParams" => sampling(part.clone()),
        "ModelPreferences" => sampling(json!({ "messages": [], "modelPreferences": part })),
        "SamplingMessage" => sampling(json!({ "messages": [part] })),
        "ToolResultContent" | "ToolUseContent" => {
            sampling(json!({ "messages": [{ "role": "user", "content": part }] }))
        }
        "ElicitRequestFormParams" | "ElicitRequestURLParams" => elicitation(part.clone()),
        _ if kind.ends_with("Schema") => {
            elicitation(json!({ "requestedSchema": { "type": "object", "properties": { "a": part } } }))
        }
        _ => return None,
    })
}

/// Returns the parameters of a client with an example in them.
fn params_with(kind: &str, part: &Value) -> Option<Map<String, Value>> {
    let (name, value) = match kind {
        "ClientCapabilities" => {
            let mut meta = messages::meta();
            meta.as_object_mut()?.insert("io.modelcontextprotocol/clientCapabilities".to_owned(), part.clone());
            ("_meta", meta)
        }
        "InputResponses" => ("inputResponses", part.clone()),
        "CreateMessageResult" | "ElicitResult" | "ListRootsResult" => ("inputResponses", json!({ "a": part })),
        "Root" => ("inputResponses", json!({ "a": { "roots": [part] } })),
        _ => return None,
    };
    Some(Map::from_iter([(name.to_owned(), value)]))
}

/// Returns what the examples need: every tool and prompt that they name, and for filtered lists all that they list.
fn allowed(examples: &[Example], lists: Lists) -> Allowed {
    let named = |kinds: &[&str], pointers: &[&str]| {
        let messages = examples.iter().filter(|example| kinds.contains(&example.kind.as_str()));
        let names =
            messages.flat_map(|example| pointers.iter().filter_map(move |at| example.message.pointer(at)?.as_str()));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let listed = |list: &str, kind: &str, place: &str| {
        let all = examples.iter().filter(|_| lists == Lists::Filtered);
        let items = all.flat_map(|example| {
            let result = example.message.get("result").unwrap_or(&example.message);
            let alone = (example.kind == kind).then_some(&example.message);
            result.get(list).and_then(Value::as_array).into_iter().flatten().chain(alone)
        });
        items.filter_map(|item| item.get(place)?.as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    let all_of =
        |used: Vec<String>, listed: Vec<String>| -> BTreeSet<String> { used.into_iter().chain(listed).collect() };
    let tools = named(&["CallToolRequest", "CallToolRequestParams"], &["/params/name", "/name"]);
    let tools = all_of(tools, listed("tools", "Tool", "name"));
    let prompts = named(
        &["GetPromptRequest", "GetPromptRequestParams", "CompleteRequest", "CompleteRequestParams"],
        &["/params/name", "/name", "/params/ref/name", "/ref/name"],
    );
    let prompts = all_of(prompts, listed("prompts", "Prompt", "name"));
    // The examples list a template for all files.
    let (resources, list) = match lists {
        Lists::Filtered => ("file:///{path...}", "reachable"),
        Lists::Unfiltered => ("file:///project/{path...}", "unfiltered"),
    };
    let tools = tools.iter().map(|name| free_tool(name)).collect();
    Allowed { tools, prompts: prompts.into_iter().collect(), resources, list }
}

/// Returns an answer with a list that all clients share as one that they do not share, with the same bytes otherwise. Returns `None` for
/// other answers.
fn with_private_list(body: &[u8]) -> Option<Vec<u8>> {
    let message: Value = serde_json::from_slice(body).ok()?;
    let result = message.get("result")?;
    let has_list = LISTS.iter().any(|list| result.get(list).is_some());
    if !has_list || result.get("cacheScope")? != "public" {
        return None;
    }
    let text = str::from_utf8(body).ok()?;
    let (before, after) = text.rsplit_once("\"cacheScope\"")?;
    // White space after the message does not belong to it.
    Some([before, "\"cacheScope\"", &after.replacen("public", "private", 1)].concat().trim_end().as_bytes().to_vec())
}

/// Returns what became of a message of a client, if it did not reach the server byte for byte.
fn is_forwarded(suite: &Suite, body: &str) -> Result<Option<String>> {
    let message: Value = serde_json::from_str(body).context("the message is not JSON")?;
    let exchange = suite.exchange(&suite.modern(&message).body(body), succeeds())?;
    let is_same = exchange.reached().is_some_and(|received| received.body == body.as_bytes());
    Ok((!is_same).then(|| exchange.seen()))
}

/// Returns what became of a message of a server, if the client did not get these bytes.
fn is_returned(suite: &Suite, request: &Value, answer: Answer, expected: &[u8]) -> Result<Option<String>> {
    let exchange = suite.exchange(&suite.modern(request), always(answer))?;
    let is_same = exchange.reached().is_some() && exchange.response.body == expected;
    Ok((!is_same).then(|| exchange.seen()))
}
