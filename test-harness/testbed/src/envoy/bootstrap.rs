//! Envoy's bootstrap configuration: the shipped `envoy/envoy.yaml`, with the few changes that a test needs.
//!
//! All demos, tests and measurements run on the configuration that users copy. There must not be a second configuration that could drift
//! from it.

use std::fs;
use std::net::SocketAddr;
use std::path::{self, Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::adapter::{self, Adapter};
use crate::paths;

const LISTENERS: &str = "/static_resources/listeners";
const LISTENER: &str = "/static_resources/listeners/0";
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const UPSTREAM: &str =
    "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
const LISTENERS_FILE: &str = "listeners.json";

/// A bootstrap configuration.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    json: Value,
    dynamic: bool,
    adapter: Adapter,
    /// The policy of the gate, for the module's configuration.
    policy: String,
    /// The names of the variables that the module's policy may read.
    environment: Vec<String>,
}

impl Bootstrap {
    /// Returns the shipped configuration on free loopback ports, with this filter or module, policy (JSON) and upstream.
    ///
    /// The file determines how Envoy runs the gate. With a library, the module replaces the filter, and a policy for Envoy becomes one for
    /// Envoy with the module.
    ///
    /// # Errors
    /// When the shipped file does not have the expected structure.
    pub fn new(module: &Path, policy: &str, upstream: SocketAddr) -> Result<Self> {
        let mut bootstrap = Self::shipped()?;
        if Adapter::of(module) == Adapter::Module {
            bootstrap.replace_filter()?;
        }
        *bootstrap.at("/admin/address/socket_address")? = address(SocketAddr::from(([127, 0, 0, 1], 0)));
        *bootstrap.at(&format!("{LISTENER}/address/socket_address"))? = address(SocketAddr::from(([127, 0, 0, 1], 0)));
        bootstrap.set_upstream(upstream)?;
        bootstrap.set_module(module)?;
        bootstrap.set_policy(policy)?;
        Ok(bootstrap)
    }

    /// Replaces the filter by the module.
    fn replace_filter(&mut self) -> Result<()> {
        *self = self.with_filters(vec![adapter::filter()])?;
        self.adapter = Adapter::Module;
        let tags = self.at("/stats_config/stats_tags")?.as_array_mut().context("`stats_tags` is not a list")?;
        for expression in tags.iter_mut().filter_map(|tag| tag.get_mut("regex")) {
            *expression = json!(Adapter::Module.metrics_expression(expression.as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn shipped() -> Result<Self> {
        let file = paths::root().join("envoy/envoy.yaml");
        let shipped = callgate_kit::document::read(file).context("the shipped configuration cannot be read")?;
        Ok(Self {
            json: shipped.value().clone(),
            dynamic: false,
            adapter: Adapter::Wasm,
            policy: String::new(),
            environment: Vec::new(),
        })
    }

    /// Returns the policy (JSON) in the shipped configuration.
    ///
    /// # Errors
    /// When the shipped file has none.
    pub fn shipped_policy() -> Result<String> {
        let policy = child(Self::shipped()?.gate()?, "/configuration/value")?.as_str().map(ToOwned::to_owned);
        policy.context("the policy is not text")
    }

    /// Returns the same configuration with another policy.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn with_policy(&self, policy: &str) -> Result<Self> {
        let mut other = self.clone();
        other.set_policy(policy)?;
        Ok(other)
    }

    /// Returns the same configuration with a named listener for each of these policies (JSON) instead of the single one.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn with_listeners(&self, policies: &[(String, String)]) -> Result<Self> {
        let mut listeners = policies
            .iter()
            .map(|(name, policy)| Ok((name.as_str(), self.with_policy(policy)?)))
            .collect::<Result<Vec<_>>>()?;
        // Older versions of Envoy use one VM for all of them, with the capabilities of the first.
        for (_, policy) in policies.iter().filter(|_| self.adapter == Adapter::Wasm) {
            let policy = serde_json::from_str(policy).unwrap_or_default();
            listeners.iter_mut().try_for_each(|(_, listener)| allow_answers(listener.gate()?, &policy))?;
        }
        Self::joined(listeners)
    }

    /// Returns one configuration with the listeners of several, each under its name. Everything else is from the first one.
    ///
    /// # Errors
    /// When the list is empty.
    pub fn joined(configurations: Vec<(&str, Self)>) -> Result<Self> {
        let mut joined = configurations.first().context("there is no configuration")?.1.clone();
        let mut listeners = Vec::with_capacity(configurations.len());
        for (name, mut configuration) in configurations {
            let mut listener = configuration.at(LISTENER)?.take();
            *child(&mut listener, "/name")? = json!(name);
            listeners.push(listener);
        }
        *joined.at(LISTENERS)? = Value::Array(listeners);
        Ok(joined)
    }

    /// Returns the same configuration with other filters instead of the gate.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn with_filters(&self, filters: Vec<Value>) -> Result<Self> {
        let mut other = self.clone();
        let all = other.filters()?;
        let gate = all.iter().position(is_gate).context("the configuration has no gate")?;
        all.splice(gate..=gate, filters);
        Ok(other)
    }

    /// Returns the same configuration with the listeners in a file that Envoy watches. [`super::Envoy::update`] can change them.
    #[must_use]
    pub fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    /// Sets the server of the cluster to which the gate forwards.
    ///
    /// # Errors
    /// When the configuration has no such cluster.
    pub fn set_upstream(&mut self, upstream: SocketAddr) -> Result<()> {
        *self.at(UPSTREAM)? = address(upstream);
        Ok(())
    }

    /// Returns the HTTP connection manager.
    ///
    /// # Errors
    /// When the configuration has none.
    pub fn manager(&mut self) -> Result<&mut Value> {
        self.at(MANAGER)
    }

    /// Returns how Envoy runs the gate.
    #[must_use]
    pub fn adapter(&self) -> Adapter {
        self.adapter
    }

    /// Returns the configuration of the gate's filter, in the form of the adapter.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn filter(&mut self) -> Result<&mut Value> {
        let gate = self.filters()?.iter_mut().find(|filter| is_gate(filter));
        gate.and_then(|gate| gate.get_mut("typed_config")).context("the configuration has no gate")
    }

    /// Returns the gate's plugin configuration, which only the Wasm filter has.
    ///
    /// # Errors
    /// When the configuration has no gate, or the gate is a module.
    pub fn gate(&mut self) -> Result<&mut Value> {
        self.filter()?.get_mut("config").context("the gate of the configuration is no Wasm filter")
    }

    /// Replaces the file of the filter or of the module by another one of the same adapter.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn set_module(&mut self, file: &Path) -> Result<()> {
        match self.adapter {
            Adapter::Wasm => *child(self.gate()?, "/vm_config/code/local/filename")? = json!(file),
            Adapter::Module => {
                // Envoy does not run in the folder of the tests.
                let file = path::absolute(file).context("there is no current folder")?;
                *child(self.filter()?, "/dynamic_module_config/module/local/filename")? = json!(file);
            }
        }
        Ok(())
    }

    /// Lets the policy read these variables of Envoy's environment, and no others.
    ///
    /// # Errors
    /// When the configuration has no gate.
    pub fn set_environment(&mut self, names: &[impl AsRef<str>]) -> Result<()> {
        self.environment = names.iter().map(|name| name.as_ref().to_owned()).collect();
        match self.adapter {
            Adapter::Wasm => {
                let names = json!(self.environment);
                *child(self.gate()?, "/vm_config/environment_variables/host_env_keys")? = names;
                Ok(())
            }
            Adapter::Module => self.configure_module(),
        }
    }

    fn configure_module(&mut self) -> Result<()> {
        let configuration = adapter::configuration(&self.policy, &self.environment);
        *child(self.filter()?, "/filter_config/value")? = json!(configuration);
        Ok(())
    }

    fn filters(&mut self) -> Result<&mut Vec<Value>> {
        self.at(&format!("{MANAGER}/http_filters"))?.as_array_mut().context("`http_filters` is not a list")
    }

    /// Returns the virtual hosts of the gate's route configuration.
    ///
    /// # Errors
    /// When the configuration has none.
    pub fn virtual_hosts(&mut self) -> Result<&mut Vec<Value>> {
        self.at(&format!("{MANAGER}/route_config/virtual_hosts"))?
            .as_array_mut()
            .context("`virtual_hosts` is not a list")
    }

    fn set_policy(&mut self, policy: &str) -> Result<()> {
        if self.adapter == Adapter::Module {
            self.policy = self.adapter.adapted(policy);
            return self.configure_module();
        }
        let gate = self.gate()?;
        *child(gate, "/configuration/value")? = json!(policy);
        // A test may pass text that is no policy.
        allow_answers(gate, &serde_json::from_str(policy).unwrap_or_default())
    }

    /// Adds a listener.
    ///
    /// # Errors
    /// When the configuration has no list of listeners.
    pub fn add_listener(&mut self, listener: Value) -> Result<()> {
        self.at(LISTENERS)?.as_array_mut().context("`listeners` is not a list")?.push(listener);
        Ok(())
    }

    /// Adds a cluster.
    ///
    /// # Errors
    /// When the configuration has no list of clusters.
    pub fn add_cluster(&mut self, cluster: Value) -> Result<()> {
        self.at("/static_resources/clusters")?.as_array_mut().context("`clusters` is not a list")?.push(cluster);
        Ok(())
    }

    /// Adds a cluster for a server on this host. It has no TLS: the server needs no certificate.
    ///
    /// # Errors
    /// When the configuration has no list of clusters.
    pub fn add_server(&mut self, name: &str, server: SocketAddr) -> Result<()> {
        self.add_cluster(cluster(name, server))
    }

    /// Writes the configuration to the file that Envoy starts with, and the files that it refers to into the same folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let folder = file.parent().context("the configuration file has no parent folder")?;
        fs::write(file, self.to_json(folder)?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Returns the value at a JSON pointer.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        child(&mut self.json, pointer)
    }

    /// Returns the text of the file that Envoy starts with. Writes the files that it refers to into `folder`.
    fn to_json(&self, folder: &Path) -> Result<String> {
        if !self.dynamic {
            let mut bootstrap = self.json.clone();
            adapter::pass_certificates(child(&mut bootstrap, LISTENERS)?);
            return Ok(bootstrap.to_string());
        }
        self.write_listeners(folder)?;
        let mut bootstrap = self.clone();
        *bootstrap.at(LISTENERS)? = json!([]);
        if let Some(root) = bootstrap.json.as_object_mut() {
            root.insert("node".into(), json!({ "id": "test", "cluster": "test" }));
            let source =
                json!({ "path_config_source": { "path": folder.join(LISTENERS_FILE) }, "resource_api_version": "V3" });
            root.insert("dynamic_resources".into(), json!({ "lds_config": source }));
        }
        Ok(bootstrap.json.to_string())
    }

    /// Writes the listeners to the file that Envoy watches. Envoy watches for moves, which also keeps it from reading an incomplete file.
    pub(super) fn write_listeners(&self, folder: &Path) -> Result<()> {
        let mut listeners = self.json.pointer(LISTENERS).cloned().context("the configuration has no listeners")?;
        adapter::pass_certificates(&mut listeners);
        let mut resources = json!({ "resources": listeners });
        let listeners = resources.get_mut("resources").and_then(Value::as_array_mut).into_iter().flatten();
        for listener in listeners.filter_map(Value::as_object_mut) {
            listener.insert("@type".into(), json!("type.googleapis.com/envoy.config.listener.v3.Listener"));
        }
        let new = folder.join("listeners.new");
        fs::write(&new, resources.to_string()).context("cannot write the listeners")?;
        fs::rename(&new, folder.join(LISTENERS_FILE)).context("cannot move the listeners into place")
    }
}

/// Allows what a policy needs that filters answers, or checks open streams again.
fn allow_answers(gate: &mut Value, policy: &Value) -> Result<()> {
    let needed: Vec<_> = callgate_kit::capabilities::answering(policy).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let allowed = child(gate, "/capability_restriction_config/allowed_capabilities")?;
    let allowed = allowed.as_object_mut().context("the capabilities are no object")?;
    allowed.extend(needed.into_iter().map(|name| (name.to_owned(), json!({}))));
    Ok(())
}

fn is_gate(filter: &Value) -> bool {
    filter.get("name").is_some_and(|name| name == "callgate")
}

/// Returns the value at a JSON pointer.
///
/// # Errors
/// When it does not exist.
pub fn child<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    value.pointer_mut(pointer).with_context(|| format!("the configuration has no value at {pointer}"))
}

/// Returns a cluster with one server, without TLS.
pub fn cluster(name: &str, server: SocketAddr) -> Value {
    let endpoint = json!({ "address": { "socket_address": address(server) } });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }] },
    })
}

fn address(address: SocketAddr) -> Value {
    json!({ "address": address.ip(), "port_value": address.port() })
}
