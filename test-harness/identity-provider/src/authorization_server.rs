//! An authorization server in the process of the test: the crate `oauth-as`, by another author, behind an HTTP server.
//!
//! Its access tokens follow RFC 9068. It has no custom claims; for those there is [`crate::glewlwyd`]. Its metadata is that of RFC 8414; it
//! has no OpenID discovery document.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oauth_as::client::{Client, ClientAuth, ClientId, SecretHash};
use oauth_as::grant::GrantType;
use oauth_as::http::{AuthorizationService, ServiceBuilder};
use oauth_as::jwt::{AccessTokenFormat, EcdsaP256Key, JwtConfig};
use oauth_as::scope::ScopeSet;
use oauth_as::server::{ServerConfig, SystemClock};
use oauth_as::store::MemoryStorage;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{Grant, Site};
use crate::gate::{CLIENT, RESOURCE, SCOPE};
use crate::listener::Listener;

const ISSUER: &str = "https://idp.example.com";
const HOST: &str = "idp.example.com";
const JWKS: &str = "/jwks";
/// The secret of the client [`CLIENT`].
pub const SECRET: &str = "correct-horse-battery-staple";
/// The audience of tokens that were requested without a resource.
pub const OTHER_RESOURCE: &str = "https://other.example.com";
/// A further audience that clients may request, below [`RESOURCE`].
pub const TOOLS_RESOURCE: &str = "https://api.example.com/tools";
/// The lifetime of tokens unless [`AuthorizationServer::start_with`] states another one.
const LIFETIME: Duration = Duration::from_secs(600);

type Service = AuthorizationService<MemoryStorage, SystemClock>;

/// A running server for the issuer `https://idp.example.com`, with one client. It stops when it is dropped.
pub struct AuthorizationServer {
    current: Arc<Mutex<Current>>,
    listener: Listener,
    terms: Terms,
}

/// What the client may request, and how long a token lasts.
struct Terms {
    resources: Vec<&'static str>,
    scopes: Vec<&'static str>,
    lifetime: Duration,
}

/// What a rotation replaces.
struct Current {
    signing: JwtConfig,
    service: Service,
    /// How many keys there have been, to give each another `kid`.
    made: usize,
}

impl AuthorizationServer {
    /// Starts the server on a free loopback port, with one ES256 key and the client [`CLIENT`], whose tokens last ten minutes.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub fn start() -> Result<Self> {
        Self::start_with(LIFETIME)
    }

    /// Starts the server with tokens that last this long.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub fn start_with(lifetime: Duration) -> Result<Self> {
        Self::start_on(Terms {
            resources: vec![RESOURCE, OTHER_RESOURCE, TOOLS_RESOURCE],
            scopes: vec![SCOPE],
            lifetime,
        })
    }

    /// Starts the server with tokens for this resource alone, with any of these scopes that the client requests, or all of them if it
    /// requests none.
    ///
    /// # Errors
    /// When no port or thread is available, or a scope is malformed.
    pub fn start_for(resource: &'static str, scopes: &[&'static str]) -> Result<Self> {
        Self::start_on(Terms { resources: vec![resource], scopes: scopes.to_vec(), lifetime: LIFETIME })
    }

    fn start_on(terms: Terms) -> Result<Self> {
        let signing = JwtConfig::new(key(1), OTHER_RESOURCE).with_jwks_uri(format!("{ISSUER}{JWKS}"));
        let service = service(&signing, &terms)?;
        let current = Arc::new(Mutex::new(Current { signing, service, made: 1 }));
        let listener = {
            let current = Arc::clone(&current);
            Listener::start(move |stream| serve(stream, Arc::clone(&current)))?
        };
        Ok(Self { current, listener, terms })
    }

    /// Returns the listening address, for the gateway's cluster.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &'static str {
        ISSUER
    }

    /// Returns the URL of the key set.
    pub fn jwks_uri(&self) -> String {
        format!("{ISSUER}{JWKS}")
    }

    /// Returns the URL of the token endpoint, which a proof for it names.
    pub fn token_url(&self) -> String {
        format!("{ISSUER}/token")
    }

    /// Reads the key set over HTTP.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn jwks(&self) -> Result<Value> {
        self.site().document(JWKS)
    }

    /// Reads the metadata of RFC 8414 over HTTP.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn metadata(&self) -> Result<Value> {
        self.site().document("/.well-known/oauth-authorization-server")
    }

    /// Gets a token for [`RESOURCE`] with the credentials of [`CLIENT`]. With a proof, the token is bound to its key.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn token(&self, proof: Option<&str>) -> Result<String> {
        self.token_for(Some(RESOURCE), proof)
    }

    /// Gets a token for a resource (RFC 8707), or for [`OTHER_RESOURCE`] without one.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn token_for(&self, resource: Option<&str>, proof: Option<&str>) -> Result<String> {
        let grant = Grant { client: CLIENT, secret: SECRET, scope: SCOPE, resource, proof };
        self.site().token("/token", &grant)
    }

    /// Publishes a new key, which signs from now on, next to the earlier ones. Returns its `kid`. The server forgets the tokens that it
    /// issued, which has no effect on a gateway that verifies them.
    ///
    /// # Errors
    /// When the server cannot be configured.
    pub fn rotate(&self) -> Result<String> {
        let mut current = lock(&self.current);
        current.made += 1;
        let key = key(current.made);
        let kid = key.kid().to_owned();
        let signing = current.signing.clone().rotate_to(key);
        current.service = service(&signing, &self.terms)?;
        current.signing = signing;
        Ok(kid)
    }

    /// Withdraws every key except the one that signs.
    ///
    /// # Errors
    /// When the server cannot be configured.
    pub fn withdraw_earlier_keys(&self) -> Result<()> {
        let mut current = lock(&self.current);
        let retired: Vec<_> = current.signing.retired_kids().map(ToOwned::to_owned).collect();
        let signing = current.signing.clone();
        let signing =
            retired.iter().fold(signing, |signing, kid| signing.forget_retired_key_breaking_its_live_tokens(kid));
        current.service = service(&signing, &self.terms)?;
        current.signing = signing;
        Ok(())
    }

    fn site(&self) -> Site {
        Site { host: HOST.to_owned(), address: self.address() }
    }
}

fn key(number: usize) -> EcdsaP256Key {
    EcdsaP256Key::generate(format!("oauth-as-{number}"))
}

/// Configures the server. It serves the documents that it created here, so a rotation creates another one.
fn service(signing: &JwtConfig, terms: &Terms) -> Result<Service> {
    let mut config = ServerConfig::new(ISSUER, format!("{ISSUER}/device"));
    config.access_token_format = AccessTokenFormat::Jwt(Box::new(signing.clone()));
    config.access_token_ttl = terms.lifetime;
    config.allowed_resources = Some(terms.resources.iter().map(|&resource| resource.into()).collect());
    config.scopes_supported = Some(terms.scopes.iter().map(|&scope| scope.to_owned()).collect());
    let server = Arc::new(oauth_as::server::AuthorizationServer::new(config, MemoryStorage::new()));
    let scopes = ScopeSet::from_tokens(terms.scopes.iter().copied()).map_err(|error| anyhow!("{error}"))?;
    let robot = Client {
        client_id: ClientId::new(CLIENT),
        auth: ClientAuth::ConfidentialSecretHash { hash: SecretHash::sha256(SECRET) },
        grant_types: vec![GrantType::ClientCredentials],
        redirect_uris: Vec::new(),
        allowed_scopes: scopes.clone(),
        default_scopes: scopes,
        name: None,
        registration: None,
    };
    // The store is in memory, so the future is ready at once.
    let registered = futures_util::FutureExt::now_or_never(server.register_client(robot));
    registered.context("the client is not registered at once")?.map_err(|error| anyhow!("{error}"))?;
    ServiceBuilder::new(server).build().map_err(|error| anyhow!("{error}"))
}

async fn serve(stream: TcpStream, current: Arc<Mutex<Current>>) {
    let service = service_fn(move |request| {
        let service = lock(&current).service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    // A client that goes away needs no answer.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn lock(current: &Mutex<Current>) -> MutexGuard<'_, Current> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use callgate_kit::mint::{Algorithm, SigningKey};
    use serde_json::json;

    use super::*;
    use crate::client::{claims, header, prove};
    use crate::gate::{Gate, policy};

    const ITEM: &str = "/items/1";

    fn gate(server: &AuthorizationServer) -> Gate {
        Gate::new(&policy(server.issuer(), &server.jwks().unwrap())).unwrap()
    }

    #[test]
    fn metadata_names_the_issuer_and_its_keys() {
        let server = AuthorizationServer::start().unwrap();
        let metadata = server.metadata().unwrap();
        assert_eq!(metadata["issuer"], server.issuer());
        assert_eq!(metadata["jwks_uri"], server.jwks_uri());
        assert_eq!(metadata["token_endpoint"], server.token_url());
        let jwks = server.jwks().unwrap();
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
        assert_eq!((&jwks["keys"][0]["kid"], &jwks["keys"][0]["use"]), (&json!("oauth-as-1"), &json!("sig")));
    }

    #[test]
    fn the_engine_accepts_its_tokens_for_the_requested_resource() {
        let server = AuthorizationServer::start().unwrap();
        let gate = gate(&server);
        let token = server.token(None).unwrap();
        assert_eq!(header(&token).unwrap()["typ"], "at+jwt");
        assert_eq!(gate.bearer(ITEM, &token).unwrap(), "allow");
        // It has no custom claims.
        assert_eq!(gate.bearer("/tenants/acme/items", &token).unwrap(), "binding_mismatch");
        let other = server.token_for(None, None).unwrap();
        assert_eq!(claims(&other).unwrap()["aud"], OTHER_RESOURCE);
        assert_eq!(gate.bearer(ITEM, &other).unwrap(), "token_audience");
        let refused = server.token_for(Some("https://unknown.example"), None).unwrap_err().to_string();
        assert!(refused.contains("invalid_target"), "{refused}");
    }

    #[test]
    fn tokens_have_the_requested_ones_of_the_permitted_scopes() {
        let server = AuthorizationServer::start_for(RESOURCE, &[SCOPE, "items:write"]).unwrap();
        assert_eq!(claims(&server.token(None).unwrap()).unwrap()["scope"], SCOPE);
        let other = server.token_for(Some(OTHER_RESOURCE), None).unwrap_err().to_string();
        assert!(other.contains("invalid_target"), "{other}");
        assert_eq!(gate(&server).bearer(ITEM, &server.token(None).unwrap()).unwrap(), "allow");
    }

    #[test]
    fn the_engine_accepts_bound_tokens_with_a_proof_by_their_key() {
        let server = AuthorizationServer::start().unwrap();
        let gate = gate(&server);
        let [key, other] = [(); 2].map(|()| SigningKey::generate(Algorithm::Es256).unwrap());
        let token = server.token(Some(&prove(&key, "POST", &server.token_url(), None))).unwrap();
        assert_eq!(claims(&token).unwrap()["cnf"]["jkt"], key.thumbprint());
        assert_eq!(gate.bound(ITEM, &token, &key).unwrap(), "allow");
        assert_eq!(gate.bound(ITEM, &token, &other).unwrap(), "dpop_binding");
        assert_eq!(gate.bearer(ITEM, &token).unwrap(), "token_bound");
    }

    #[test]
    fn tokens_are_accepted_while_their_key_is_published() {
        let server = AuthorizationServer::start().unwrap();
        let (old, before) = (server.token(None).unwrap(), gate(&server));
        let kid = server.rotate().unwrap();
        let new = server.token(None).unwrap();
        assert_eq!(header(&new).unwrap()["kid"], kid);
        assert_eq!(before.bearer(ITEM, &new).unwrap(), "token_key");
        let both = gate(&server);
        assert_eq!(
            (both.bearer(ITEM, &old).unwrap(), both.bearer(ITEM, &new).unwrap()),
            ("allow".into(), "allow".into())
        );
        server.withdraw_earlier_keys().unwrap();
        let one = gate(&server);
        assert_eq!(
            (one.bearer(ITEM, &old).unwrap(), one.bearer(ITEM, &new).unwrap()),
            ("token_key".into(), "allow".into())
        );
    }

    #[test]
    fn tokens_last_as_long_as_configured() {
        let server = AuthorizationServer::start_with(Duration::from_secs(3600)).unwrap();
        let token = server.token(None).unwrap();
        let claims = claims(&token).unwrap();
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        assert_eq!(gate(&server).bearer(ITEM, &token).unwrap(), "token_lifetime");
    }
}
