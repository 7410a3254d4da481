//! A compiled module that any number of VMs can be started from.

use std::path::Path;

use anyhow::Context as _;
use wasmtime::{Config, Engine, ExternType, InstancePre, Linker};

use super::foreign::Answer;
use super::profile::HostProfile;
use super::state::State;
use super::{calls, proxy, wasi};

/// A compiled module in one gateway. Any number of [`Vm`](super::Vm)s can be started from it.
#[derive(Clone)]
pub struct Module {
    ready: InstancePre<State>,
    profile: HostProfile,
    answer: Option<Answer>,
}

impl Module {
    /// Reads and compiles a module, for Envoy.
    ///
    /// # Errors
    /// When the file cannot be read, is not WebAssembly, or imports something that the host does not offer.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Self::compile(&bytes).with_context(|| format!("`{}` cannot be used", path.display()))
    }

    /// Compiles a module, for Envoy.
    ///
    /// # Errors
    /// When the bytes are not WebAssembly, or import something that the host does not offer.
    pub fn compile(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config)?;
        let module = wasmtime::Module::new(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        proxy::link(&mut linker)?;
        calls::link(&mut linker)?;
        proxy::link_unmade(&mut linker, &module)?;
        wasi::link(&mut linker)?;
        let ready = linker
            .instantiate_pre(&module)
            .map_err(anyhow::Error::from)
            .context("the module imports functions that hosts do not provide")?;
        Ok(Self { ready, profile: HostProfile::Envoy, answer: None })
    }

    /// Returns the same module in another gateway.
    #[must_use]
    pub fn under(&self, profile: HostProfile) -> Self {
        Self { ready: self.ready.clone(), profile, answer: None }
    }

    /// Returns the same module in a gateway whose `verify_signature` always returns this answer.
    #[must_use]
    pub fn answering(&self, answer: Answer) -> Self {
        Self { answer: Some(answer), ..self.clone() }
    }

    /// Returns the module's gateway.
    #[must_use]
    pub fn profile(&self) -> HostProfile {
        self.profile
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer
    }

    /// Returns the names of the imports, as `module.name`.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        self.ready.module().imports().map(|import| format!("{}.{}", import.module(), import.name())).collect()
    }

    /// Returns the names of the imported functions, with the number of their parameters.
    #[must_use]
    pub fn imported_calls(&self) -> Vec<(String, usize)> {
        let calls = self.ready.module().imports().filter_map(|import| match import.ty() {
            ExternType::Func(call) => Some((format!("{}.{}", import.module(), import.name()), call.params().len())),
            _ => None,
        });
        calls.collect()
    }

    /// Returns the names of the exports.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        self.ready.module().exports().map(|export| export.name().to_owned()).collect()
    }

    pub(super) fn instance(&self) -> &InstancePre<State> {
        &self.ready
    }
}
