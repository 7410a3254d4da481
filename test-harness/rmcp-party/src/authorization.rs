//! The OAuth client of the SDK: from a challenge of the gate to a token, with client credentials.
//!
//! The SDK finds the authorization server, selects the first scopes and gets tokens. Its transport sends the token
//! that there is, and reports the challenge of an answer with 401 or 403. When to get another token is decided here.

use std::env;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use http::{Request, Response};
use reqwest::Url;
use reqwest::header::{HOST, HeaderValue};
use reqwest::redirect::Policy;
use rmcp::transport::auth::{
    AuthClient, AuthorizationManager, ClientCredentialsConfig, OAuthHttpClient, OAuthHttpClientFuture,
    OAuthHttpRequest, WWWAuthenticateParams,
};

/// The URL of the MCP server that users know, which is also the resource that tokens are for.
const RESOURCE: &str = "https://payments.example.com/mcp";
const CLIENT: &str = "robot";

/// What a transport needs to send requests with a token, once there is one.
pub(crate) struct Authorization {
    client: AuthClient<reqwest::Client>,
    secret: String,
    resource: Url,
}

impl Authorization {
    /// Returns the authorization of a client whose secret is in the variable `SECRET`, or `None` without it. The authorization server's
    /// address is in the variable `PROVIDER`.
    ///
    /// # Errors
    /// When an address is missing or malformed.
    pub(crate) async fn from_environment(http: &reqwest::Client, gateway: &str) -> Result<Option<Self>> {
        let Ok(secret) = env::var("SECRET") else { return Ok(None) };
        let provider = env::var("PROVIDER").context("the variable `PROVIDER` has no address")?;
        let sites = Sites {
            http: reqwest::Client::builder().redirect(Policy::none()).build().context("there is no HTTP client")?,
            gateway: gateway.parse().context("the address of the gateway is not a URL")?,
            provider: provider.parse().context("the address of the authorization server is not a URL")?,
        };
        let manager = AuthorizationManager::new_with_oauth_http_client(RESOURCE, Arc::new(sites)).await?;
        let client = AuthClient::new(http.clone(), manager);
        Ok(Some(Self { client, secret, resource: RESOURCE.parse()? }))
    }

    /// Returns an HTTP client for a transport. It sends the newest token.
    pub(crate) fn client(&self) -> AuthClient<reqwest::Client> {
        self.client.clone()
    }

    /// Gets a token as a challenge asks for it, and prints the challenge.
    ///
    /// # Errors
    /// When the authorization server is not found, or refuses.
    pub(crate) async fn follow(&self, challenge: &str) -> Result<()> {
        let challenged = WWWAuthenticateParams::parse(challenge, &self.resource);
        let asked = challenged.scope.clone().unwrap_or_default();
        let error = challenged.error.as_deref().map(|error| format!("{error} ")).unwrap_or_default();
        println!("  challenge: {error}{asked}");
        let mut manager = self.client.auth_manager.lock().await;
        let scopes = if challenged.is_insufficient_scope() {
            // The scopes of the token, and those that are missing. `select_scopes` would add all that the metadata of the resource list,
            // and `request_scope_upgrade` is for the authorization code flow.
            let mut scopes = manager.get_current_scopes().await;
            for scope in asked.split_whitespace() {
                if scopes.iter().all(|own| own != scope) {
                    scopes.push(scope.to_owned());
                }
            }
            scopes
        } else {
            let found = manager.resolve_metadata_from_challenge(Some(challenge)).await?;
            manager.set_metadata(found.metadata);
            manager.select_initial_scopes(&[]).await
        };
        let credentials = ClientCredentialsConfig::ClientSecret {
            client_id: CLIENT.to_owned(),
            client_secret: self.secret.clone(),
            scopes,
            resource: Some(RESOURCE.to_owned()),
        };
        manager.validate_client_credentials_metadata(&credentials)?;
        manager.configure_client_credentials(&credentials)?;
        manager.exchange_client_credentials(&credentials).await?;
        Ok(())
    }
}

/// Sends the requests of the OAuth client to where the hosts listen, instead of DNS and TLS, and prints each exchange.
struct Sites {
    http: reqwest::Client,
    gateway: Url,
    provider: Url,
}

impl Sites {
    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>> {
        let scope = scope(request.body());
        let mut request = reqwest::Request::try_from(request).context("the request has no valid URL")?;
        let named = request.url().clone();
        let host = named.host_str().unwrap_or_default();
        let mut url = match host {
            "payments.example.com" => self.gateway.clone(),
            "idp.example.com" => self.provider.clone(),
            other => bail!("there is no host `{other}`"),
        };
        url.set_path(named.path());
        url.set_query(named.query());
        *request.url_mut() = url;
        request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
        let method = request.method().clone();
        let response = self.http.execute(request).await?;
        let status = response.status();
        println!("  {method} {host}{} {scope}{}", named.path(), status.as_u16());
        let mut answer = Response::builder().status(status);
        for (name, value) in response.headers() {
            answer = answer.header(name, value);
        }
        Ok(answer.body(response.bytes().await?.to_vec())?)
    }
}

impl OAuthHttpClient for Sites {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move { self.exchange(request.request).await.map_err(Into::into) })
    }
}

/// Returns the scope that a token request asks for, and a space.
fn scope(form: &[u8]) -> String {
    let form = String::from_utf8_lossy(form);
    let scope = form.split('&').find_map(|part| part.strip_prefix("scope="));
    scope.map(|scope| scope.replace('+', " ").replace("%3A", ":") + " ").unwrap_or_default()
}
