//! `cargo harness`: everything about the project that needs more than cargo.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum as _};
use test_harness::build::{self, Flavor};
use test_harness::compose::{self, Profile};
use test_harness::conformance::{self, Least};
use test_harness::demo::{self, Demo};
use test_harness::envoy::{self, Binary};
use test_harness::wasmhost::HostProfile;
use test_harness::{bench, container, package, paths, portability, progress, upstreams};

/// Builds, runs and shows Callgate in a real gateway.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures what the gate costs, beside Envoy's own filters, in one run of a real Envoy.
    Bench {
        /// Writes the figures to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Makes few calls: the figures are rough.
        #[arg(long)]
        quick: bool,
        /// Measures only these rows, by their names in the JSON, in many short rounds.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["json", "quick"])]
        rows: Vec<String>,
    },
    /// Builds the filter and prints the file's path.
    Build,
    /// Runs the composition of test-harness/docker-compose.yml, pulls the images that are not there, and takes it down.
    Compose {
        /// Which part of it.
        #[arg(long, value_enum, default_value = "corpus")]
        profile: Vec<Profile>,
        /// Every part. Those whose images cannot be had are checked, and said not to have run.
        #[arg(long, conflicts_with = "profile")]
        all: bool,
    },
    /// Runs published test vectors natively and in the module, and says what came of each file.
    Conformance {
        /// The folder with the vectors.
        folder: PathBuf,
        /// Writes what came of every case to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Takes a folder with some of the files, and files with fewer cases than the published ones.
        #[arg(long)]
        some: bool,
    },
    /// Measures what the dearest requests of strangers cost, and fails where one costs more than twenty plain 401s.
    Costs {
        /// Sends few requests: the figures say nothing, and none is too high.
        #[arg(long)]
        quick: bool,
    },
    /// What a container of the composition does.
    #[command(hide = true)]
    Container {
        #[command(subcommand)]
        task: container::Task,
    },
    /// Finds the Envoy that the tests use, or installs it, and prints the program's path.
    Envoy,
    /// Counts the instructions of a decision about a call whose token was seen before, by part.
    Instructions {
        /// Counts those of this module instead, to compare two builds.
        #[arg(conflicts_with = "write")]
        module: Option<PathBuf>,
        /// Makes the count the one that a test holds later ones against.
        #[arg(long)]
        write: bool,
    },
    /// Writes what a release consists of to `target/dist`: the filter, its hash, an image, the schemas, a bill of materials.
    Package {
        /// Builds the filter a second time, in another folder, and fails when the bytes differ. Takes a few minutes.
        #[arg(long)]
        verify: bool,
    },
    /// Runs the corpus in the filter as each gateway would have it, and prints what works where.
    Portability {
        /// Writes the table into docs/reference/portability.md if it differs.
        #[arg(long)]
        write: bool,
        /// Runs it for one gateway alone, by the name that policies have for it, and prints what differs.
        #[arg(long, value_name = "GATEWAY", conflicts_with = "write")]
        only: Option<String>,
    },
    /// Draws the output of `cargo demo`, from a run of it, and compares it with docs/demo.svg.
    Picture {
        /// Writes the picture to docs/demo.svg.
        #[arg(long)]
        write: bool,
    },
    /// Runs upstream servers, shows what each reads differently, and sends them what the gate forwards.
    ///
    /// Installs the servers that are missing with apt-get where it runs as root; each server that cannot run is reported in one line.
    Upstreams {
        /// Writes the tables into docs/reference/upstreams.md.
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
        Command::Instructions { module, write } => bench::instructions(module.as_deref(), write),
        Command::Conformance { folder, json, some } => {
            let least = if some { Least::One } else { Least::Published };
            let report = conformance::run(&folder, least)?;
            print!("{report}");
            if let Some(file) = json {
                std::fs::write(&file, serde_json::to_string_pretty(&report)?)
                    .with_context(|| format!("cannot write `{}`", file.display()))?;
            }
            ensure!(report.passes(), "not every test vector passes");
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
        println!("  {} forwarded requests, {} read differently", server.replayed, server.misread.len());
    }
    report.skipped.iter().for_each(|skipped| println!("{skipped}"));
    upstreams::judge(&report)?;
    upstreams::compare(&report, write)
}

fn portability(write: bool, only: Option<&str>) -> anyhow::Result<()> {
    let named = |profile: &HostProfile| only.is_some_and(|name| profile.quirks().gateway == name);
    let chosen: Vec<_> = HostProfile::ALL.into_iter().filter(named).collect();
    ensure!(only.is_none() || !chosen.is_empty(), "policies know no such gateway");
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
