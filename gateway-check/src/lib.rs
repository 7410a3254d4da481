//! Reads the configuration of a gateway and finds visible ways around the gate.
//!
//! No gateway runs here: the files are interpreted as the gateway interprets them. Anything that is not understood is reported,
//! never assumed to be harmless.
#![cfg(not(target_arch = "wasm32"))]

mod ahead;
mod behind;
mod bypass;
mod certificates;
mod envoy;
mod fetched;
mod filters;
mod finding;
mod gate;
mod kong;
mod kubernetes;
mod module;
mod passed;
mod plugin;
mod policy;
mod report;
mod routes;
mod told;
mod view;
mod world;

use std::path::{Path, PathBuf};

pub use finding::{Code, Finding};

use bypass::BypassRoute;
use callgate_kit::diagnostic::Diagnostics;
use callgate_kit::document::{self, Document};
use callgate_kit::policy::Loaded;
use report::{Comments, Report};
use view::View;
use world::World;

/// The input of one check, and its results so far.
struct Check<'a> {
    world: World<'a>,
    report: Report,
    /// The policy that the gates should have, if the command names one.
    expected: Option<policy::Facts>,
    gates: Vec<gate::Gate<'a>>,
    /// Whether the current filter chain sets the certificate of the client for the dynamic module.
    certificate_of_connection: bool,
    bypasses: Vec<BypassRoute<'a>>,
    /// The upstreams that requests reach through a gate.
    gated: std::collections::BTreeSet<String>,
    /// Names of metadata by which clusters choose their hosts.
    chosen_by: std::collections::BTreeSet<String>,
    /// The `vm_id` of Wasm filters that are not the gate.
    foreign: Vec<(&'a str, View<'a>)>,
}

/// Finds ways around the gate in these files, which belong together.
///
/// # Errors
/// Fails if a file cannot be read, or is not YAML or JSON.
pub fn check(files: &[PathBuf], expected: Option<&Loaded>) -> Result<Vec<Finding>, Diagnostics> {
    let mut documents = Vec::new();
    let mut comments = Vec::new();
    for file in files {
        let (mut found, told) = read(file)?;
        documents.append(&mut found);
        comments.push((file.display().to_string(), told));
    }
    let mut report = Report::default();
    let mut check = Check {
        world: World::of(&documents, &mut report),
        report,
        expected: expected.map(policy::Facts::of),
        gates: Vec::new(),
        certificate_of_connection: false,
        bypasses: Vec::new(),
        gated: std::collections::BTreeSet::new(),
        chosen_by: std::collections::BTreeSet::new(),
        foreign: Vec::new(),
    };
    check.read_choices();
    check.envoys();
    check.kubernetes();
    check.kongs();
    check.fetched();
    check.compare_gates();
    check.foreign_modules();
    check.judge_ungated(files);
    Ok(check.report.finish(&comments))
}

fn read(file: &Path) -> Result<(Vec<Document>, Comments), Diagnostics> {
    let bytes = document::read_bytes(file)?;
    let documents = document::parse_configuration(&file.display().to_string(), &bytes)?;
    Ok((documents, Comments::of(&String::from_utf8_lossy(&bytes))))
}

impl<'a> Check<'a> {
    fn add(&mut self, code: Code, view: &View<'a>, message: impl Into<String>) {
        self.report.add(code, view, message.into());
    }
}
