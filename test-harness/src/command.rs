//! `cargo harness`: everything about the project that needs more than cargo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum as _};
use identity_provider::glewlwyd;
use test_harness::build::{self, Flavor};
use test_harness::compose::{self, Profile};
use test_harness::conformance::{self, Least};
use test_harness::demo::{self, Demo};
use test_harness::envoy::{self, Adapter, Binary};
use test_harness::mcp_conformance::{self, Gateway, Lists, Need, Remote, Tokens};
use test_harness::wasmhost::HostProfile;
use test_harness::{bench, container, fuzz_module, package, paths, portability, progress, soak, upstreams};

/// Builds, runs and demonstrates Callgate in real gateways.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the cost of the gate, in Wasm and as a module, and of Envoy's own filters, in one run of a real Envoy.
    Bench {
        /// Writes the results to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Sends few requests; the results are rough.
        #[arg(long)]
        quick: bool,
        /// Measures only these rows, named as in the JSON, in many short rounds. `workers`, `signed`, `mcp` and `certificate` are all rows of
        /// that group.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["json", "quick"])]
        rows: Vec<String>,
        /// Updates the tables in docs/reference/performance.md.
        #[arg(long, conflicts_with_all = ["quick", "rows"])]
        write: bool,
    },
    /// Builds the filter and prints the file's path.
    Build,
    /// Starts the composition in test-harness/docker-compose.yml, pulls missing images, and stops it again.
    Compose {
        /// The profile to run.
        #[arg(long, value_enum, default_value = "corpus")]
        profile: Vec<Profile>,
        /// Runs every profile. If a profile's images cannot be pulled, checks only its configuration and reports it as not run.
        #[arg(long, conflicts_with = "profile")]
        all: bool,
    },
    /// Runs published test vectors natively and in the module, and prints the result of each file.
    Conformance {
        /// The folder that contains the vectors.
        folder: PathBuf,
        /// Writes the result of every case to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Accepts a folder with only some of the files, and files with fewer cases than the published ones.
        #[arg(long)]
        some: bool,
    },
    /// Measures the most expensive requests without valid credentials, and fails if one costs more than twenty plain 401s.
    Costs {
        /// Sends few requests; the results are meaningless, and the limit is not checked.
        #[arg(long)]
        quick: bool,
    },
    /// Runs the task of one container of the composition.
    #[command(hide = true)]
    Container {
        #[command(subcommand)]
        task: container::Task,
    },
    /// Finds or installs the Envoy that the tests use, and prints the program's path.
    Envoy,
    /// Fuzzes the adapter of the dynamic module under AddressSanitizer, with an imitation of Envoy.
    ///
    /// Builds the fuzz target `module` with the compiler of the tests, so it needs no nightly one, but a C++ compiler for libFuzzer.
    FuzzModule {
        /// How long to fuzz, in seconds, after the build.
        #[arg(long, default_value = "60")]
        seconds: u64,
    },
    /// Runs Glewlwyd, an identity provider in C, and checks what the engine decides about its tokens, natively and in an Envoy that fetches its
    /// keys, before and after it rotates them.
    ///
    /// Downloads its Debian packages into `target/glewlwyd`, which needs no root. Where they cannot be had, prints why and succeeds.
    Glewlwyd,
    /// Counts the instructions of a decision about a request whose token is cached, by part, and what fetched keys cost.
    Instructions {
        /// Counts the instructions of this module instead, to compare two builds.
        #[arg(conflicts_with = "write")]
        module: Option<PathBuf>,
        /// Writes the count as the baseline that a test compares later counts with.
        #[arg(long)]
        write: bool,
    },
    /// Checks what a gateway between MCP clients and servers must do, and prints the result of each scenario.
    ///
    /// Starts Callgate in an Envoy in front of the suite's own MCP server, or checks the gateway at `--url`, which forwards to `--upstream`.
    /// docs/reference/mcp-conformance.md lists the scenarios, and what another gateway needs to allow.
    McpConformance(Box<McpConformance>),
    /// Writes the files of a release to `target/dist`: the filter, its hash, an image, the schemas, a bill of materials. Also the dynamic
    /// module with its hash and bill of materials, for each architecture that this machine has a compiler for.
    Package {
        /// Builds the filter and the module a second time, in another folder, and fails if the bytes differ. Takes a few minutes.
        #[arg(long)]
        verify: bool,
    },
    /// Runs the corpus on an emulated host of each gateway, and prints which features work in which gateway.
    Portability {
        /// Updates the table in docs/reference/portability.md.
        #[arg(long)]
        write: bool,
        /// Runs the corpus for only one gateway, named as in policies, and prints the differences.
        #[arg(long, value_name = "GATEWAY", conflicts_with = "write")]
        only: Option<String>,
    },
    /// Draws the output of `cargo demo`, from a run of it, and compares it with docs/demo.svg.
    Picture {
        /// Writes the picture to docs/demo.svg.
        #[arg(long)]
        write: bool,
    },
    /// Sends requests of every kind through the gate in a real Envoy with four workers, updates it meanwhile, and fails if memory grows.
    ///
    /// `CALLGATE_ADAPTER=module` runs the dynamic module instead of the filter.
    Soak {
        /// How long the load lasts. It lasts longer if fewer than 100,000 tokens were sent.
        #[arg(long, default_value = "10")]
        minutes: u64,
    },
    /// Runs upstream servers, prints how each interprets requests differently, and sends them the requests that the gate forwards.
    ///
    /// If run as root, installs missing servers with apt-get. Reports each server that cannot run in one line.
    Upstreams {
        /// Updates the tables in docs/reference/upstreams.md.
        #[arg(long)]
        write: bool,
    },
}

// Not a doc comment: it would replace the description of the command.
#[derive(clap::Args)]
struct McpConformance {
    /// The MCP endpoint of another gateway: an `http` URL.
    #[arg(long, requires = "upstream")]
    url: Option<String>,
    /// Where the suite's server listens, for the other gateway to forward to.
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    upstream: Option<SocketAddr>,
    /// The value of `Host`. Default: that of the URL.
    #[arg(long, requires = "url")]
    host: Option<String>,
    /// The path of an endpoint of the gateway that only supports 2026-07-28.
    #[arg(long, value_name = "PATH", requires = "url")]
    modern_path: Option<String>,
    /// The identifier of the MCP server in the metadata. Default: the URL.
    #[arg(long, value_name = "URL", requires = "url")]
    resource: Option<String>,
    /// An origin that the gateway accepts. Default: https://chat.example.com.
    #[arg(long, requires = "url")]
    origin: Option<String>,
    /// A valid token with all scopes.
    #[arg(long, requires = "url")]
    token: Option<String>,
    /// A valid token without scopes.
    #[arg(long, value_name = "TOKEN", requires = "url")]
    narrow_token: Option<String>,
    /// A token that was issued for another resource.
    #[arg(long, value_name = "TOKEN", requires = "url")]
    foreign_token: Option<String>,
    /// An expired token.
    #[arg(long, value_name = "TOKEN", requires = "url")]
    expired_token: Option<String>,
    /// What the gateway does not do. Scenarios that need it are skipped.
    #[arg(long, value_enum, value_delimiter = ',', requires = "url")]
    without: Vec<Need>,
    /// Runs only the scenarios whose ids begin like this, such as `headers`.
    #[arg(long, value_name = "ID", conflicts_with = "write")]
    only: Option<String>,
    /// Also sends the published example messages in this folder.
    #[arg(long, value_name = "FOLDER")]
    examples: Option<PathBuf>,
    /// Writes the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Updates docs/reference/mcp-conformance.md.
    #[arg(long, conflicts_with = "url")]
    write: bool,
    /// Only checks or updates the list of scenarios in the document, and runs none.
    #[arg(long, conflicts_with_all = ["url", "only", "examples", "json"])]
    list: bool,
}

impl McpConformance {
    fn gateway(&self) -> Gateway {
        let (Some(url), Some(upstream)) = (&self.url, self.upstream) else { return Gateway::Callgate };
        Gateway::Remote(Box::new(Remote {
            url: url.clone(),
            host: self.host.clone(),
            modern_path: self.modern_path.clone(),
            resource: self.resource.clone(),
            origin: self.origin.clone(),
            tokens: Tokens {
                full: self.token.clone(),
                narrow: self.narrow_token.clone(),
                foreign: self.foreign_token.clone(),
                expired: self.expired_token.clone(),
            },
            upstream,
            without: self.without.clone(),
        }))
    }

    fn run(&self) -> anyhow::Result<()> {
        if self.url.is_none() {
            mcp_conformance::compare_scenarios(self.write)?;
        }
        if self.list {
            return Ok(());
        }
        let gateway = self.gateway();
        let run = || mcp_conformance::run(&gateway, self.only.as_deref());
        let report = progress::during("sending requests through the gateway", run)?;
        print!("{report}");
        if let Some(file) = &self.json {
            write_json(file, &report)?;
        }
        if let Some(folder) = &self.examples {
            self.send_examples(folder, &gateway)?;
        }
        if self.url.is_some() {
            ensure!(report.meets_every_must(), "the gateway does not meet every requirement of the level MUST");
            return Ok(());
        }
        mcp_conformance::judge(&report)?;
        if self.only.is_some() { Ok(()) } else { mcp_conformance::compare_results(&report, self.write) }
    }

    /// Sends the published example messages, through Callgate also with filtered lists. Which entries another gateway allows is not known.
    fn send_examples(&self, folder: &Path, gateway: &Gateway) -> anyhow::Result<()> {
        for lists in [Lists::Unfiltered, Lists::Filtered] {
            if lists == Lists::Filtered && self.url.is_some() {
                continue;
            }
            let examples = mcp_conformance::examples(folder, gateway, lists)?;
            println!("{lists:?} lists: {} example requests, {} example responses", examples.sent, examples.answered);
            ensure!(examples.changed.is_empty(), "changed or denied:\n{}", examples.changed.join("\n"));
        }
        Ok(())
    }
}

fn write_json(file: &Path, report: &impl serde::Serialize) -> anyhow::Result<()> {
    std::fs::write(file, serde_json::to_string_pretty(report)?)
        .with_context(|| format!("cannot write `{}`", file.display()))
}

pub(crate) fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build => {
            let file = progress::during("building the filter", || build::filter(Flavor::Release))?;
            println!("{}", file.display());
            Ok(())
        }
        Command::Compose { all: true, .. } => compose::run(Profile::value_variants()),
        Command::Compose { profile, .. } => compose::run(&profile),
        Command::Container { task } => container::run(&task),
        Command::Costs { quick } => bench::costs::run(quick),
        Command::Envoy => {
            match progress::during("looking for Envoy, or installing it", envoy::locate)? {
                Binary::Program(file) => println!("{}", file.display()),
                Binary::Image(image) => bail!("the only Envoy on this machine is the image `{image}`"),
            }
            Ok(())
        }
        Command::Bench { json: None, rows, .. } if !rows.is_empty() => bench::some_rows(&rows),
        Command::Bench { json, quick, write, .. } => bench::run(json.as_deref(), quick, write),
        Command::FuzzModule { seconds } => fuzz_module::run(Duration::from_secs(seconds)),
        Command::Glewlwyd => check_glewlwyd(),
        Command::Instructions { module, write } => bench::instructions(module.as_deref(), write),
        Command::Conformance { folder, json, some } => {
            let least = if some { Least::One } else { Least::Published };
            let report = conformance::run(&folder, least)?;
            print!("{report}");
            if let Some(file) = json {
                write_json(&file, &report)?;
            }
            ensure!(report.passes(), "some test vectors fail");
            Ok(())
        }
        Command::McpConformance(options) => options.run(),
        Command::Package { verify } => package::run(verify),
        Command::Portability { write, only } => portability(write, only.as_deref()),
        Command::Soak { minutes } => {
            soak::run(Adapter::chosen()?, Duration::from_secs(minutes.saturating_mul(60)), soak::TOKENS)
        }
        Command::Upstreams { write } => compare_upstreams(write),
        Command::Picture { write } => picture(write),
    }
}

fn picture(write: bool) -> anyhow::Result<()> {
    let drawn = demo::picture(&demo::summary(&Demo::start()?.call_all()?));
    let file = paths::root().join(demo::PICTURE);
    if write {
        return std::fs::write(&file, drawn).with_context(|| format!("cannot write `{}`", file.display()));
    }
    let is_current = std::fs::read_to_string(&file).is_ok_and(|shipped| shipped == drawn);
    ensure!(is_current, "{} is not what the demo prints; run `cargo harness picture --write`", demo::PICTURE);
    Ok(())
}

fn compare_upstreams(write: bool) -> anyhow::Result<()> {
    if let Err(error) = progress::during("installing missing servers", upstreams::install) {
        println!("no server was installed: {error:#}");
    }
    let report = progress::during("sending requests to each server", upstreams::measure)?;
    for server in &report.ran {
        println!("{}: {}", server.title, server.versions);
        for upstreams::Row { request, reading, gate } in &server.rows {
            println!("  {request}: {reading}; the gate {gate}");
        }
        for (request, how) in &server.rejected {
            println!("  {request}, forwarded: {how}");
        }
        println!("  {} forwarded requests, {} interpreted differently", server.replayed, server.misread.len());
    }
    report.skipped.iter().for_each(|skipped| println!("{skipped}"));
    upstreams::judge(&report)?;
    upstreams::compare(&report, write)
}

fn check_glewlwyd() -> anyhow::Result<()> {
    let installed = match progress::during("downloading Glewlwyd", glewlwyd::Installed::find_or_download) {
        Ok(installed) => installed,
        Err(error) => {
            println!("Glewlwyd: not run: {error:#}");
            return Ok(());
        }
    };
    let checked = progress::during("checking tokens of Glewlwyd", || glewlwyd::check(&installed))?;
    checked.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn portability(write: bool, only: Option<&str>) -> anyhow::Result<()> {
    let named = |profile: &HostProfile| only.is_some_and(|name| profile.quirks().gateway == name);
    let chosen: Vec<_> = HostProfile::ALL.into_iter().filter(named).collect();
    ensure!(only.is_none() || !chosen.is_empty(), "unknown gateway; expected a name that a policy's `gateway` accepts");
    let rows = progress::during("running the corpus under each gateway", || portability::rows(&chosen))?;
    let wrong = portability::wrong(&rows);
    if only.is_some() {
        for ((_, lost), count) in portability::lacking(&rows) {
            let lost: Vec<_> = lost.iter().map(ToString::to_string).collect();
            println!("{count} cases without {}", lost.join(", "));
        }
    } else if wrong.is_empty() {
        print!("{}", portability::table(&rows)?);
    }
    ensure!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    if write { portability::compare(&rows, true) } else { Ok(()) }
}
