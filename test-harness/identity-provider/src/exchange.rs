//! An authorization server that exchanges tokens (RFC 8693): the crate `oauth-as`, by another author, in the process of the test.
//!
//! A user gives an application access (RFC 8628). Agents exchange the user's token for tokens in which they are the current actor (`act`),
//! and each exchange puts the earlier actors below the new one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_testbed::client::{self, Request};
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oauth_as::client::{Client, ClientAuth, ClientId, SecretHash};
use oauth_as::grant::{DEVICE_CODE_GRANT_URN, GrantType, TOKEN_EXCHANGE_GRANT_URN};
use oauth_as::http::{AuthorizationService, ServiceBuilder};
use oauth_as::jwt::{AccessTokenFormat, EcdsaP256Key, JwtConfig};
use oauth_as::scope::ScopeSet;
use oauth_as::server::{AuthorizationServer, ServerConfig, SystemClock};
use oauth_as::store::MemoryStorage;
use serde_json::Value;

use crate::client::{Grant, Site};
use crate::gate::{RESOURCE, SCOPE};
use crate::listener::Listener;

const ISSUER: &str = "https://exchange.example.com";
const HOST: &str = "exchange.example.com";
const JWKS: &str = "/jwks";
const TOKEN: &str = "/token";
/// The secret of every agent.
const SECRET: &str = "correct-horse-battery-staple";
/// The application that the user gives access. It is no agent.
const APPLICATION: &str = "application";
/// A further scope of the server. Tokens have it only if it was requested.
pub const ADMIN: &str = "items:admin";
const LIFETIME: Duration = Duration::from_secs(600);
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A running server for the issuer `https://exchange.example.com`. It stops when it is dropped.
pub struct ExchangeServer {
    server: Arc<AuthorizationServer<MemoryStorage, SystemClock>>,
    listener: Listener,
}

impl ExchangeServer {
    /// Starts the server on a free loopback port, with these agents as clients that may exchange tokens. Tokens are for [`RESOURCE`] and
    /// have the scope [`SCOPE`], unless others are requested.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub fn start(agents: &[&str]) -> Result<Self> {
        let signing = JwtConfig::new(EcdsaP256Key::generate("exchange-1"), RESOURCE);
        let mut config = ServerConfig::new(ISSUER, format!("{ISSUER}/device"));
        config.access_token_format = AccessTokenFormat::Jwt(Box::new(signing.with_jwks_uri(format!("{ISSUER}{JWKS}"))));
        config.access_token_ttl = LIFETIME;
        config.allowed_resources = Some([RESOURCE].into_iter().map(Into::into).collect());
        config.scopes_supported = Some([SCOPE, ADMIN].into_iter().map(ToOwned::to_owned).collect());
        let server = Arc::new(AuthorizationServer::new(config, MemoryStorage::new()));
        let application = client_of(APPLICATION, ClientAuth::Public, vec![GrantType::DeviceCode])?;
        at_once(server.register_client(application))?.map_err(|error| anyhow!("{error}"))?;
        for agent in agents {
            let auth = ClientAuth::ConfidentialSecretHash { hash: SecretHash::sha256(SECRET) };
            let grants = vec![GrantType::ClientCredentials, GrantType::TokenExchange];
            let agent = client_of(agent, auth, grants)?;
            at_once(server.register_client(agent))?.map_err(|error| anyhow!("{error}"))?;
        }
        let service = ServiceBuilder::new(Arc::clone(&server)).build().map_err(|error| anyhow!("{error}"))?;
        let listener = Listener::start(move |stream| serve(stream, service.clone()))?;
        Ok(Self { server, listener })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &'static str {
        ISSUER
    }

    /// Reads the key set over HTTP.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn jwks(&self) -> Result<Value> {
        self.site().document(JWKS)
    }

    /// Returns the token that the application gets after this user has given it access.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn token_of_user(&self, user: &str) -> Result<String> {
        self.token_of_user_for(user, &[SCOPE])
    }

    /// Returns the token that the application gets after this user has given it access with these scopes.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn token_of_user_for(&self, user: &str, granted: &[&str]) -> Result<String> {
        let scope = scopes(granted)?;
        let id = ClientId::new(APPLICATION);
        let started = at_once(self.server.device_authorization(&id, None, Some(&scope)))?;
        let started = started.map_err(|error| anyhow!("{error:?}"))?;
        at_once(self.server.approve_device(&started.user_code, user))?.map_err(|error| anyhow!("{error:?}"))?;
        let form = [
            ("grant_type", DEVICE_CODE_GRANT_URN),
            ("device_code", started.device_code.as_str()),
            ("client_id", APPLICATION),
        ];
        self.request(&form, None)
    }

    /// Returns the token of an agent for itself.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn token_of_agent(&self, agent: &str) -> Result<String> {
        let grant = Grant { client: agent, secret: SECRET, scope: SCOPE, resource: None, proof: None };
        self.site().token(TOKEN, &grant)
    }

    /// Exchanges a token for one in which this agent is the current actor.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn exchange(&self, agent: &str, subject_token: &str) -> Result<String> {
        self.exchange_with(agent, subject_token, None)
    }

    /// Exchanges a token in the same way, and requests these scopes, separated by spaces.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn exchange_for(&self, agent: &str, subject_token: &str, scope: &str) -> Result<String> {
        self.exchange_with(agent, subject_token, Some(scope))
    }

    fn exchange_with(&self, agent: &str, subject_token: &str, scope: Option<&str>) -> Result<String> {
        let own = self.token_of_agent(agent)?;
        let mut form = vec![
            ("grant_type", TOKEN_EXCHANGE_GRANT_URN),
            ("subject_token", subject_token),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", own.as_str()),
            ("actor_token_type", ACCESS_TOKEN),
        ];
        form.extend(scope.map(|scope| ("scope", scope)));
        self.request(&form, Some(agent))
    }

    /// Exchanges a token for one that names no actor, which the agent can use as if it were the user.
    ///
    /// # Errors
    /// When the server rejects the request.
    pub fn impersonate(&self, agent: &str, subject_token: &str) -> Result<String> {
        let form = [
            ("grant_type", TOKEN_EXCHANGE_GRANT_URN),
            ("subject_token", subject_token),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        self.request(&form, Some(agent))
    }

    /// Sends a request to the token endpoint, with the credentials of this agent.
    fn request(&self, form: &[(&str, &str)], agent: Option<&str>) -> Result<String> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::post(TOKEN).host(HOST).header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(agent) = agent {
            let basic = STANDARD.encode(format!("{agent}:{SECRET}"));
            request = request.header("Authorization", format!("Basic {basic}"));
        }
        let response = client::call(self.address(), &request.body(body))?;
        ensure!(response.status == 200, "the token endpoint answers {}: {}", response.status, response.text());
        let token = response.json().get("access_token").and_then(Value::as_str).map(ToOwned::to_owned);
        token.with_context(|| format!("the token endpoint returns no token: {}", response.text()))
    }

    fn site(&self) -> Site {
        Site { host: HOST.to_owned(), address: self.address() }
    }
}

fn scopes(names: &[&str]) -> Result<ScopeSet> {
    ScopeSet::from_tokens(names.iter().copied()).map_err(|error| anyhow!("{error}"))
}

fn client_of(id: &str, auth: ClientAuth, grant_types: Vec<GrantType>) -> Result<Client> {
    Ok(Client {
        client_id: ClientId::new(id),
        auth,
        grant_types,
        redirect_uris: Vec::new(),
        allowed_scopes: scopes(&[SCOPE, ADMIN])?,
        default_scopes: scopes(&[SCOPE])?,
        name: None,
        registration: None,
    })
}

/// Returns the output of a future that only uses the store. The store is in memory, so the future is ready at once.
fn at_once<T>(future: impl Future<Output = T>) -> Result<T> {
    future.now_or_never().context("the store is not ready at once")
}

async fn serve(stream: tokio::net::TcpStream, service: AuthorizationService<MemoryStorage, SystemClock>) {
    let service = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    // A client that goes away needs no answer.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::claims;

    #[test]
    fn each_exchange_makes_the_agent_the_current_actor() {
        let server = ExchangeServer::start(&["planner", "coder"]).unwrap();
        let of_ann = server.token_of_user("ann").unwrap();
        let read = |token: &str| {
            let claims = claims(token).unwrap();
            (claims["sub"].clone(), claims["client_id"].clone(), claims["act"].clone())
        };
        assert_eq!(read(&of_ann), (json!("ann"), json!(APPLICATION), Value::Null));
        let planned = server.exchange("planner", &of_ann).unwrap();
        let planner = json!({ "sub": "planner", "client_id": "planner" });
        assert_eq!(read(&planned), (json!("ann"), json!("planner"), planner.clone()));
        let coded = server.exchange("coder", &planned).unwrap();
        let coder = json!({ "sub": "coder", "client_id": "coder", "act": planner });
        assert_eq!(read(&coded), (json!("ann"), json!("coder"), coder));
        assert_eq!(read(&server.impersonate("coder", &of_ann).unwrap()), (json!("ann"), json!("coder"), Value::Null));
    }

    #[test]
    fn an_exchange_cannot_widen_the_scopes() {
        let server = ExchangeServer::start(&["planner", "coder"]).unwrap();
        let scope = |token: &str| claims(token).unwrap()["scope"].clone();
        let both = format!("{SCOPE} {ADMIN}");
        let of_ann = server.token_of_user("ann").unwrap();
        let of_bob = server.token_of_user_for("bob", &[SCOPE, ADMIN]).unwrap();
        let narrowed = server.exchange_for("planner", &of_bob, SCOPE).unwrap();
        assert_eq!((scope(&of_ann), scope(&narrowed)), (json!(SCOPE), json!(SCOPE)));
        // Both agents may have the scope themselves.
        for subject_token in [&of_ann, &narrowed] {
            for asked in [ADMIN, both.as_str()] {
                let told = server.exchange_for("coder", subject_token, asked).unwrap_err().to_string();
                assert!(told.contains("invalid_scope"), "{told}");
            }
            assert_eq!(scope(&server.exchange("coder", subject_token).unwrap()), json!(SCOPE));
        }
        assert_eq!(scope(&server.exchange_for("coder", &of_bob, ADMIN).unwrap()), json!(ADMIN));
        assert_eq!(scope(&server.exchange("coder", &of_bob).unwrap()), json!(format!("{ADMIN} {SCOPE}")));
    }

    #[test]
    fn only_agents_exchange_tokens() {
        let server = ExchangeServer::start(&["planner"]).unwrap();
        let of_ann = server.token_of_user("ann").unwrap();
        assert!(server.exchange("coder", &of_ann).is_err());
        assert!(server.exchange("planner", "no token").is_err());
    }
}
