//! A configuration of the filter, which all threads share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use callgate::Policy;
use callgate::policy::ENVOY_MODULE;

use crate::abi::EnvoyConfig;
use crate::host::{Envoy, Target};
use crate::main_thread;
use crate::metrics::MetricIds;
use crate::settings::Settings;
use crate::timer::Alarm;

/// The event with which a configuration's timer calls the hook `config_scheduled`.
const TICK: u64 = 0;
/// How soon the main thread looks for documents that requests wait for. Strangers decide how many these are, so it also bounds how often.
const HURRIED: Duration = Duration::from_millis(5);

/// A configuration. It ends when Envoy calls the hook `config_destroy`, on any thread. Streams of it have ended then.
pub(crate) struct Shared {
    /// Tells the configurations of the process apart.
    pub(crate) id: u64,
    policy: OnceLock<Arc<Policy>>,
    environment: BTreeMap<String, Vec<u8>>,
    metrics: MetricIds,
    /// The alarm of the main thread. `None` if the policy needs none, and after the configuration has ended.
    alarm: Mutex<Option<Alarm>>,
    is_over: AtomicBool,
}

/// All threads use it at the same time.
const _: () = {
    const fn check<T: Send + Sync>(_: Option<&T>) {}
    check::<Shared>(None);
};

/// The number of configurations that have ended. If it has changed, threads look for what they can drop.
static ENDED: AtomicU64 = AtomicU64::new(0);
static IDS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of configurations that have ended.
pub(crate) fn ended() -> u64 {
    ENDED.load(Ordering::Acquire)
}

impl Shared {
    /// Creates a configuration: compiles the policy, defines all metrics, and starts what the main thread does for it.
    ///
    /// # Errors
    /// What is wrong, a line for each problem.
    pub(crate) fn new(envoy: EnvoyConfig, configuration: &[u8]) -> Result<Arc<Self>, Vec<String>> {
        let settings = Settings::read(configuration).map_err(|line| vec![line])?;
        let read = |name: &str| std::env::var_os(name).map(OsString::into_encoded_bytes);
        let shared = Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            policy: OnceLock::new(),
            environment: settings.variables(read),
            metrics: MetricIds::define(envoy),
            alarm: Mutex::default(),
            is_over: AtomicBool::default(),
        });
        let host = Envoy::new(Arc::clone(&shared));
        let entered = host.enter(Target::Config(envoy));
        let policy = callgate::host::compile(&host, settings.policy, ENVOY_MODULE)?;
        let policy = shared.policy.get_or_init(|| policy);
        let root = main_thread::start(&host, Arc::clone(policy))?;
        drop(entered);
        if host.period().is_some() {
            let alarm = Alarm::of_config(envoy).ok_or_else(|| vec!["Envoy provides no scheduler".to_owned()])?;
            *shared.alarm.lock().unwrap_or_else(PoisonError::into_inner) = Some(alarm);
            shared.tick_after(host.period());
        }
        #[cfg(test)]
        crate::on_purpose::configuration::panic_in("config_new");
        // Even without a timer: at its end, the policy withdraws what it published.
        main_thread::keep(Arc::clone(&shared), host, root);
        Ok(shared)
    }

    /// Returns the compiled policy.
    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.get()
    }

    /// Returns an environment variable, if the configuration names it.
    pub(crate) fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.environment.get(name).cloned()
    }

    /// Returns Envoy's ids of the metrics.
    pub(crate) fn metrics(&self) -> &MetricIds {
        &self.metrics
    }

    /// Calls the hook `config_scheduled` after a period.
    pub(crate) fn tick_after(&self, period: Option<Duration>) {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(alarm), Some(period)) = (alarm.as_mut(), period)
            && let Err(error) = alarm.set(period, TICK)
        {
            log::error!("the timer does not run, so documents are not fetched: {error}");
        }
    }

    /// Makes the main thread look for documents soon, because a request waits for them. It does so once for all that ask meanwhile.
    pub(crate) fn hurry(&self) {
        self.tick_after(Some(HURRIED));
    }

    /// Ends the configuration.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(alarm);
        ENDED.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether the configuration has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
