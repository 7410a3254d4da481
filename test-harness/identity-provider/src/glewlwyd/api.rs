//! The server's REST API, as far as the tests need it.

use anyhow::{Context as _, Result, ensure};
use callgate_kit::mint::SigningKey;
use callgate_testbed::client::{self, Request};
use serde_json::{Value, json};

use super::{PLUGIN, SECRET, TENANT, URL};
use crate::client::Site;
use crate::gate::{CLIENT, RESOURCE, SCOPE};

/// The name of the plugin. Its endpoints are below `/api/` and this name.
const NAME: &str = "corp";
/// In seconds.
const LIFETIME: u32 = 600;

/// A session of the administrator.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) site: Site,
    cookie: String,
}

impl Api {
    pub(super) fn log_in(site: Site) -> Result<Self> {
        let credentials = json!({ "username": "admin", "password": "password" });
        let request = Request::post("/api/auth/").host(&site.host).header("Content-Type", "application/json");
        let response = client::call(site.address, &request.body(credentials.to_string()))?;
        let cookie = response.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.with_context(|| format!("the administrator cannot log in: {}", response.status))?;
        Ok(Self { cookie: cookie.to_owned(), site })
    }

    /// Creates the issuer, its scope and its client.
    pub(super) fn configure(&self, keys: &[SigningKey]) -> Result<()> {
        self.store_property()?;
        self.call("POST", "/api/mod/plugin", Some(&plugin(keys)))?;
        let scope = json!({ "name": SCOPE, "display_name": SCOPE, "password_required": false });
        self.call("POST", "/api/scope", Some(&scope))?;
        let mut robot = json!({
            "client_id": CLIENT,
            "name": CLIENT,
            "enabled": true,
            "confidential": true,
            "client_secret": SECRET,
            "authorization_type": ["client_credentials"],
            "token_endpoint_auth_method": ["client_secret_basic"],
            "scope": [SCOPE],
            "resource": [RESOURCE],
        });
        insert(&mut robot, TENANT.0, json!(TENANT.1));
        self.call("POST", "/api/client", Some(&robot))?;
        Ok(())
    }

    /// Replaces the keys. The first one signs.
    pub(super) fn set_keys(&self, keys: &[SigningKey]) -> Result<()> {
        let path = format!("/api/mod/plugin/{NAME}");
        self.call("PUT", &path, Some(&plugin(keys)))?;
        self.call("PUT", &format!("{path}/reset"), None)?;
        Ok(())
    }

    /// Makes the database of clients store a property that the package does not know. Without this, the property of a new client is lost.
    fn store_property(&self) -> Result<()> {
        let path = "/api/mod/client/database";
        let mut module = self.call("GET", path, None)?;
        let format = module.pointer_mut("/parameters/data-format").context("the module has no format")?;
        insert(format, TENANT.0, json!({ "multiple": false, "read": true, "write": true }));
        self.call("PUT", path, Some(&module))?;
        self.call("PUT", &format!("{path}/reset"), None)?;
        Ok(())
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = Request::new(method, path).host(&self.site.host).header("Cookie", &self.cookie);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = client::call(self.site.address, &request)?;
        ensure!(response.status == 200, "`{method} {path}` answers {}: {}", response.status, response.text());
        Ok(response.json())
    }
}

/// Returns the plugin's whole configuration: a `PUT` replaces it.
fn plugin(keys: &[SigningKey]) -> Value {
    let keys: Vec<_> = keys.iter().map(SigningKey::private_jwk).collect();
    json!({
        "module": "oidc",
        "name": NAME,
        "display_name": NAME,
        "enabled": true,
        "parameters": {
            "iss": format!("{URL}{PLUGIN}"),
            // Text, although it is JSON. Each key needs `alg` and `kid`.
            "jwks-private": json!({ "keys": keys }).to_string(),
            "jwks-show": true,
            "access-token-duration": LIFETIME,
            "refresh-token-duration": LIFETIME,
            "code-duration": LIFETIME,
            "refresh-token-rolling": false,
            // Client credentials are not part of OpenID Connect.
            "allow-non-oidc": true,
            "auth-type-client-enabled": true,
            "auth-type-code-enabled": false,
            "auth-type-token-enabled": false,
            "auth-type-implicit-enabled": false,
            "auth-type-password-enabled": false,
            "auth-type-refresh-enabled": false,
            // A client may request the resources in its property `resource`.
            "resource-allowed": true,
            "resource-client-property": "resource",
            "resource-scope": {},
            "resource-scope-and-client-property": false,
            "oauth-dpop-allowed": true,
            "oauth-dpop-iat-duration": 60,
            "additional-parameters": [{ "client-parameter": TENANT.0, "token-parameter": TENANT.0 }],
        },
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
