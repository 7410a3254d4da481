//! A client that knows only the URL of an API and its own credentials: it follows the answer 401 to the metadata of the resource (RFC 9728),
//! to the authorization server, and back with a token. The client is the OAuth client of the MCP SDK for Python, and the authorization
//! server the crate `oauth-as`.

use identity_provider::authorization_server::{AuthorizationServer, SECRET, TOOLS_RESOURCE};
use identity_provider::gate;
use serde_json::json;
use test_harness::python::Package;

use crate::envoy::clients::{exchanges, python};
use crate::envoy::fixture::Gate;

/// The MCP SDK for Python, version 2.
pub(super) const MCP: Package<'_> =
    Package { folder: "mcp", name: "mcp", version: "2.3.0", file: "mcp/client/auth/oauth2.py" };

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_client_gets_from_401_to_a_token() {
    let Some(python) = python(MCP) else { return };
    let provider = AuthorizationServer::start().unwrap();
    let mut policy = gate::policy(provider.issuer(), &provider.jwks().unwrap());
    let metadata = json!({ "authorization_servers": [provider.issuer()], "initial_scopes": [gate::SCOPE] });
    policy["metadata"] = metadata.clone();
    policy["resources"] = json!([{ "base": "/tools", "resource": TOOLS_RESOURCE, "metadata": metadata }]);
    let list =
        json!({ "id": "tools.list", "methods": ["GET"], "path": "/tools", "effect": "read", "scopes": [gate::SCOPE] });
    policy["endpoints"].as_array_mut().unwrap().push(list);
    let gate = Gate::start(&policy);
    let variables = [("PROVIDER", format!("http://{}", provider.address())), ("SECRET", SECRET.to_owned())];
    let well_known = "https://api.example.com/.well-known/oauth-protected-resource";
    // Each resource leads to its own document, and to a token that only this resource accepts.
    for (url, document) in [
        ("https://api.example.com/items/1", well_known.to_owned()),
        ("https://api.example.com/tools", format!("{well_known}/tools")),
    ] {
        let expected = [
            format!("GET {url} 401"),
            format!("GET {document} 200"),
            "GET https://idp.example.com/.well-known/oauth-authorization-server 200".to_owned(),
            "POST https://idp.example.com/token 200".to_owned(),
            format!("GET {url} 200"),
            format!("GET {url} 200"),
        ];
        assert_eq!(exchanges(&gate, &python, "discovering.py", &[url], &variables), expected);
    }
}
