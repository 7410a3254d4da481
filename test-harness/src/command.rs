//! `cargo harness`: everything about the project that needs more than cargo.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum as _};
use identity_provider::glewlwyd;
use test_harness::build::{self, Flavor};
use test_harness::compose::{self, Profile};
use test_harness::conformance::{self, Least};
use test_harness::demo::{self, Demo};
use test_harness::envoy::{self, Binary};
use test_harness::wasmhost::HostProfile;
use test_harness::{bench, container, package, paths, portability, progress, upstreams};

/// Builds, runs and demonstrates Callgate in real gateways.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the cost of the gate and of Envoy's own filters, in one run of a real Envoy.
    Bench {
        /// Writes the results to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Sends few requests; the results are rough.
        #[arg(long)]
        quick: bool,
        /// Measures only these rows, named as in the JSON, in many short rounds.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["json", "quick"])]
        rows: Vec<String>,
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
    /// Writes the files of a release to `target/dist`: the filter, its hash, an image, the schemas, a bill of materials.
    Package {
        /// Builds the filter a second time, in another folder, and fails if the bytes differ. Takes a few minutes.
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
    /// Runs upstream servers, prints how each interprets requests differently, and sends them the requests that the gate forwards.
    ///
    /// If run as root, installs missing servers with apt-get. Reports each server that cannot run in one line.
    Upstreams {
        /// Updates the tables in docs/reference/upstreams.md.
        #[arg(long)]
        write: bool,
    },
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
        Command::Bench { json, quick, .. } => bench::run(json.as_deref(), quick),
        Command::Glewlwyd => check_glewlwyd(),
        Command::Instructions { module, write } => bench::instructions(module.as_deref(), write),
        Command::Conformance { folder, json, some } => {
            let least = if some { Least::One } else { Least::Published };
            let report = conformance::run(&folder, least)?;
            print!("{report}");
            if let Some(file) = json {
                std::fs::write(&file, serde_json::to_string_pretty(&report)?)
                    .with_context(|| format!("cannot write `{}`", file.display()))?;
            }
            ensure!(report.passes(), "some test vectors fail");
            Ok(())
        }
        Command::Package { verify } => package::run(verify),
        Command::Portability { write, only } => portability(write, only.as_deref()),
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
