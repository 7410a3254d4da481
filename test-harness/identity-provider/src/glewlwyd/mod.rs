//! Glewlwyd 2.7, an identity provider in C that others wrote, from its Debian package.
//!
//! It is configured over its REST API, as an operator does. What its documentation does not state, and was measured with 2.7.5:
//!
//! - Access tokens of its OpenID Connect plugin are `at+jwt` with every required claim, and additionally `nbf` and `type`. The members of its
//!   JWKs are `kty`, `crv`, `x`, `y`, `kid` and `alg`, without `use`.
//! - `iss` and all URLs in its metadata come from the configuration, so it can serve plain HTTP under an `https` issuer. Its proofs
//!   (RFC 9449) must name the token endpoint of the configured URL. Neither needs TLS.
//! - Metadata is at `<issuer>/.well-known/openid-configuration` only.
//! - Without `resource` in the request, `aud` is the list of scopes. A resource that the client may not use is answered with 400
//!   `invalid_target`. A request without `scope`, and one with a wrong secret, is answered with 403.
//! - The first key of `jwks-private` signs. `default-kid` has no effect on tokens of client credentials.
//! - A changed plugin is stored at once but used only after `PUT .../reset`. Resetting while token requests are in flight crashes the
//!   server, so [`Glewlwyd`] takes `&mut self` for it.

mod api;
mod check;
mod install;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_testbed::kept::{Kept, last_lines};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Grant, Site};
use crate::gate::{CLIENT, RESOURCE, SCOPE};
use api::Api;
pub use check::check;
pub use install::Installed;

/// The URL that clients use. A gateway in front would terminate TLS.
const URL: &str = "https://idp.example.com";
const HOST: &str = "idp.example.com";
/// The path of the plugin, and of the issuer.
const PLUGIN: &str = "/api/corp";
/// The claim with the client's property, and its value.
pub const TENANT: (&str, &str) = ("tenant", "acme");
const SECRET: &str = "correct-horse-battery-staple";

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Another process may take the free port before the server does.
const ATTEMPTS: usize = 3;

/// A running server with one issuer and one client. It ends when it is dropped.
#[derive(Debug)]
pub struct Glewlwyd {
    api: Api,
    process: Process,
    /// The published keys. The first one signs.
    keys: Vec<SigningKey>,
    /// How many keys there have been, to give each another `kid`.
    made: usize,
}

impl Glewlwyd {
    /// Starts the server on a free loopback port with a new database, and configures it: an issuer with one ES256 key, whose tokens last ten
    /// minutes, and the client [`CLIENT`] with the property [`TENANT`].
    ///
    /// # Errors
    /// When the server does not start, or does not accept its configuration. The message contains the end of its log.
    pub fn start(installed: &Installed) -> Result<Self> {
        let process = Process::start(installed)?;
        let site = Site { host: HOST.to_owned(), address: process.address };
        let started = Api::log_in(site).and_then(|api| {
            let keys = vec![new_key(1)?];
            api.configure(&keys)?;
            Ok((api, keys))
        });
        match started {
            Ok((api, keys)) => Ok(Self { api, process, keys, made: 1 }),
            Err(error) => Err(error.context(format!("glewlwyd cannot be configured; its log:\n{}", process.log()))),
        }
    }

    /// Returns the listening address, for the gateway's cluster.
    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> String {
        format!("{URL}{PLUGIN}")
    }

    /// Returns the URL of the key set.
    pub fn jwks_uri(&self) -> String {
        format!("{URL}{PLUGIN}/jwks")
    }

    /// Returns the URL of the token endpoint, which a proof for it names.
    pub fn token_url(&self) -> String {
        format!("{URL}{PLUGIN}/token")
    }

    /// Reads the key set over HTTP.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn jwks(&self) -> Result<Value> {
        self.api.site.document(&format!("{PLUGIN}/jwks"))
    }

    /// Reads the OpenID discovery document over HTTP.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn metadata(&self) -> Result<Value> {
        self.api.site.document(&format!("{PLUGIN}/.well-known/openid-configuration"))
    }

    /// Gets a token for [`RESOURCE`] with the credentials of [`CLIENT`]. With a proof, the token is bound to its key.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn token(&self, proof: Option<&str>) -> Result<String> {
        self.token_for(Some(RESOURCE), proof)
    }

    /// Gets a token for a resource (RFC 8707). Without one, its audience is the list of its scopes.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn token_for(&self, resource: Option<&str>, proof: Option<&str>) -> Result<String> {
        let grant = Grant { client: CLIENT, secret: SECRET, scope: SCOPE, resource, proof };
        self.api.site.token(&format!("{PLUGIN}/token"), &grant)
    }

    /// Publishes a new key, which signs from now on, next to the earlier ones. No token request may be in flight. Returns its `kid`.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn rotate(&mut self) -> Result<String> {
        self.made += 1;
        let key = new_key(self.made)?;
        let kid = key.kid().unwrap_or_default().to_owned();
        self.keys.insert(0, key);
        self.api.set_keys(&self.keys)?;
        Ok(kid)
    }

    /// Withdraws every key except the one that signs. No token request may be in flight.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn withdraw_earlier_keys(&mut self) -> Result<()> {
        self.keys.truncate(1);
        self.api.set_keys(&self.keys)
    }
}

fn new_key(number: usize) -> Result<SigningKey> {
    let key = SigningKey::generate(Algorithm::Es256).context("cannot generate a key")?;
    Ok(key.with_kid(format!("glewlwyd-{number}")))
}

/// The server's process, its address and its files.
#[derive(Debug)]
struct Process {
    address: SocketAddr,
    program: Kept,
    folder: TempDir,
}

impl Process {
    fn start(installed: &Installed) -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt(installed) {
                Ok(process) => return Ok(process),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?).context("glewlwyd does not start")
    }

    fn attempt(installed: &Installed) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("callgate-glewlwyd-").tempdir().context("cannot create a folder")?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
        let address = free.local_addr().context("a listener has no address")?;
        drop(free);
        let configuration = configure(installed, &folder, address.port())?;
        let mut server = installed.command("usr/bin/glewlwyd");
        server.arg(format!("--config-file={configuration}"));
        let program = Kept::start(&server, folder.path(), &folder.path().join("log"))?;
        let mut process = Self { address, program, folder };
        process.await_ready()?;
        Ok(process)
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            if self.program.has_ended() {
                bail!("it ended at once:\n{}", self.log());
            }
            if Instant::now() > deadline {
                bail!("it accepts no connections:\n{}", self.log());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Returns the last part of its output.
    fn log(&self) -> String {
        last_lines(&fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
    }
}

/// Creates the database and the configuration file, and returns the path of the latter.
fn configure(installed: &Installed, folder: &TempDir, port: u16) -> Result<String> {
    let database = folder.path().join("glewlwyd.db");
    // The database of the package: the administrator `admin` with the password `password`, modules for users and clients, and no plugin.
    let schema = installed.path("usr/share/dbconfig-common/data/glewlwyd/install/sqlite3");
    let read = format!(".read {}", schema.to_str().context("the path of the workspace is not UTF-8")?);
    install::run(installed.command("usr/bin/sqlite3").arg(&database).arg(read))?;
    let modules = installed.path("usr/lib/glewlwyd");
    let (modules, database) = (modules.display(), database.display());
    let text = format!(
        r#"port = {port}
bind_address = "127.0.0.1"
external_url = "{URL}"
api_prefix = "api"
log_mode = "console"
log_level = "WARNING"
cookie_secure = 0
session_key = "session"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"; path = "{database}"; }};
"#
    );
    let file = folder.path().join("glewlwyd.conf");
    fs::write(&file, text).context("cannot write the configuration")?;
    Ok(file.to_str().context("the path of a folder is not UTF-8")?.to_owned())
}
