//! The servers: the requirements of each, how to start it, and its versions.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths;
use crate::python::{Installed, Package};

/// The Python server that names the environment, and the packages that are installed next to it.
const GUNICORN: Package<'_> =
    Package { folder: "upstreams", name: "gunicorn", version: "27.0.1", file: "gunicorn/__init__.py" };
const OTHERS: [&str; 8] = [
    "daphne==4.2.3",
    "django==5.2.19",
    "fastapi==0.165.0",
    "flask==3.1.3",
    "starlette==1.10.0",
    "twisted==26.10.0",
    "uvicorn==0.54.0",
    "werkzeug==3.1.9",
];

/// The folder in which Debian's packages install modules.
const NODE_MODULES: &str = "/usr/share/nodejs";

/// The installations found on this machine.
#[derive(Debug)]
pub(super) struct Home {
    /// The Python with all Python servers, or the reason why there is none.
    python: Result<Installed>,
}

impl Home {
    /// Installs the Python servers if they are missing.
    pub(super) fn find() -> Self {
        Self { python: GUNICORN.install_with(&OTHERS) }
    }

    fn python(&self) -> Result<&Path> {
        match &self.python {
            Ok(installed) => Ok(&installed.python),
            Err(error) => bail!("{error:#}"),
        }
    }
}

/// A server with an application.
pub(super) struct Server {
    /// The id of its part of the document.
    pub(super) id: &'static str,
    /// Its name in the document.
    pub(super) title: &'static str,
    /// Its Debian packages.
    pub(super) packages: &'static [&'static str],
    /// Returns its versions, or the reason why it cannot run here.
    pub(super) versions: fn(&Home) -> Result<String>,
    /// Returns the commands that serve on this port and keep their files in this folder.
    pub(super) commands: fn(&Home, &Path, u16) -> Result<Vec<Command>>,
    /// Whether the server passes raw parameters to the application, which then decodes them.
    pub(super) hands_on_raw_parameters: bool,
    /// Whether the framework reads JSON bodies like forms, so its policy has `merges: [form, json]`.
    pub(super) merges_json: bool,
}

const USUAL: Server = Server {
    id: "",
    title: "",
    packages: &[],
    versions: |_| bail!("unknown server"),
    commands: |_, _, _| Ok(Vec::new()),
    hands_on_raw_parameters: false,
    merges_json: false,
};

/// The folder with the applications and configurations.
const APPS: &str = "test-harness/upstreams";

/// All servers, in the order of the document.
pub(super) const SERVERS: [Server; 11] = [
    Server {
        id: "gunicorn-flask",
        title: "gunicorn with Flask",
        versions: |home| home.python().map(|_| format!("gunicorn {}, Flask 3.1.3, Werkzeug 3.1.9", GUNICORN.version)),
        commands: |home, _, port| gunicorn(home, port, "flask_app:app"),
        ..USUAL
    },
    Server {
        id: "gunicorn-django",
        title: "gunicorn with Django",
        versions: |home| home.python().map(|_| format!("gunicorn {}, Django 5.2.19", GUNICORN.version)),
        commands: |home, _, port| gunicorn(home, port, "django_app:wsgi"),
        ..USUAL
    },
    Server {
        id: "daphne-django",
        title: "Daphne with Django",
        versions: |home| home.python().map(|_| "Daphne 4.2.3, Twisted 26.10.0, Django 5.2.19".to_owned()),
        commands: |home, _, port| {
            let mut command = Command::new(home.python()?);
            command.args(["-m", "daphne", "-b", "127.0.0.1", "-p", &port.to_string(), "django_app:asgi"]);
            command.env("PYTHONPATH", apps()).env("PYTHONDONTWRITEBYTECODE", "1");
            Ok(vec![command])
        },
        ..USUAL
    },
    Server {
        id: "uvicorn-fastapi",
        title: "uvicorn with FastAPI",
        versions: |home| home.python().map(|_| "uvicorn 0.54.0, FastAPI 0.165.0, Starlette 1.10.0".to_owned()),
        commands: |home, _, port| {
            let mut command = Command::new(home.python()?);
            command.args(["-m", "uvicorn", "--port", &port.to_string(), "fastapi_app:app"]);
            command.env("PYTHONPATH", apps()).env("PYTHONDONTWRITEBYTECODE", "1");
            Ok(vec![command])
        },
        ..USUAL
    },
    Server {
        id: "lighttpd-cgi",
        title: "lighttpd with CGI",
        packages: &["lighttpd"],
        versions: |_| version("lighttpd", program("lighttpd")?, &["-v"]),
        commands: |_, folder, port| {
            let configuration = configure("lighttpd.conf", folder, port, &[("{python}", &real_python()?)])?;
            let mut command = Command::new(program("lighttpd")?);
            command.arg("-D").arg("-f").arg(configuration);
            Ok(vec![command])
        },
        ..USUAL
    },
    Server {
        id: "nginx",
        title: "nginx",
        packages: &["nginx-light"],
        versions: |_| version("nginx", program("nginx")?, &["-v"]),
        commands: |_, folder, port| Ok(vec![nginx(folder, &configure("nginx.conf", folder, port, &[])?)?]),
        hands_on_raw_parameters: true,
        ..USUAL
    },
    Server {
        id: "php-symfony",
        title: "PHP-FPM with Symfony",
        packages: &["nginx-light", "php-fpm", "php-symfony-http-foundation", "php-symfony-routing"],
        versions: |_| php("Symfony", "php-symfony-routing"),
        commands: |_, folder, port| php_commands("symfony.php", folder, port),
        ..USUAL
    },
    Server {
        id: "php-laravel",
        title: "PHP-FPM with Laravel",
        packages: &["nginx-light", "php-fpm", "php-laravel-framework"],
        versions: |_| php("Laravel", "php-laravel-framework"),
        commands: |_, folder, port| php_commands("laravel.php", folder, port),
        merges_json: true,
        ..USUAL
    },
    Server {
        id: "puma-rack",
        title: "Puma with Rack",
        packages: &["puma", "ruby-rack"],
        versions: |_| {
            let rack = version("Rack", program("ruby")?, &["-e", "require 'rack'; puts Rack.release"])?;
            Ok(format!("{}, {rack}", version("Puma", program("puma")?, &["--version"])?))
        },
        commands: |_, _, port| puma("config.ru", port),
        ..USUAL
    },
    Server {
        id: "puma-rails",
        title: "Puma with Rails",
        packages: &["puma", "ruby-railties"],
        versions: |_| {
            let print = "require 'action_pack/version'; puts ActionPack.version";
            let rails = version("Rails", program("ruby")?, &["-e", print]).context("ruby-railties is not installed")?;
            Ok(format!("{}, {rails}", version("Puma", program("puma")?, &["--version"])?))
        },
        commands: |_, _, port| puma("rails.ru", port),
        merges_json: true,
        ..USUAL
    },
    Server {
        id: "express",
        title: "Express",
        packages: &["nodejs", "node-express"],
        versions: |_| {
            let mut command = Command::new(program("node")?);
            command.env("NODE_PATH", NODE_MODULES);
            let print = "console.log(require('express/package.json').version)";
            let express = command.args(["-e", print]).stderr(Stdio::null()).output().context("cannot run node")?;
            numbered("Express", &String::from_utf8_lossy(&express.stdout)).context("node-express is not installed")
        },
        commands: |_, _, port| {
            let mut command = Command::new(program("node")?);
            command.arg(apps().join("express.js")).arg(port.to_string()).env("NODE_PATH", NODE_MODULES);
            Ok(vec![command])
        },
        ..USUAL
    },
];

fn apps() -> PathBuf {
    paths::root().join(APPS)
}

fn gunicorn(home: &Home, port: u16, application: &str) -> Result<Vec<Command>> {
    let mut command = Command::new(home.python()?);
    command.args(["-m", "gunicorn", "--no-control-socket", "--bind", &format!("127.0.0.1:{port}"), application]);
    command.env("PYTHONPATH", apps()).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(vec![command])
}

fn nginx(folder: &Path, configuration: &Path) -> Result<Command> {
    let mut command = Command::new(program("nginx")?);
    command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(configuration);
    Ok(command)
}

fn puma(application: &str, port: u16) -> Result<Vec<Command>> {
    let mut command = Command::new(program("puma")?);
    command.args(["--quiet", "--bind", &format!("tcp://127.0.0.1:{port}")]).arg(apps().join(application));
    Ok(vec![command])
}

/// Returns the versions of PHP, of a framework from this Debian package, and of nginx.
fn php(framework: &str, package: &str) -> Result<String> {
    let php = version("PHP", php_fpm()?, &["-v"])?;
    let print = ["--show", "--showformat=${db:Status-Status} ${Version}", package];
    let framework = version(framework, "dpkg-query", &print).with_context(|| format!("{package} is not installed"))?;
    Ok(format!("{php}, {framework}, {}", version("nginx", program("nginx")?, &["-v"])?))
}

fn php_commands(script: &str, folder: &Path, port: u16) -> Result<Vec<Command>> {
    let configuration = configure("php-fpm.conf", folder, port, &[])?;
    let mut php = Command::new(php_fpm()?);
    php.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(configuration);
    let configuration = configure("php-nginx.conf", folder, port, &[("{script}", script)])?;
    Ok(vec![php, nginx(folder, &configuration)?])
}

/// Writes a configuration file from a template.
fn configure(template: &str, folder: &Path, port: u16, places: &[(&str, &str)]) -> Result<PathBuf> {
    let mut text = fs::read_to_string(apps().join(template)).with_context(|| format!("cannot read {template}"))?;
    let folder_name = folder.to_str().context("a folder's path is not UTF-8")?;
    let apps = apps();
    let apps = apps.to_str().context("the path of the workspace is not UTF-8")?;
    for (place, value) in
        [("{folder}", folder_name), ("{app}", apps), ("{port}", &port.to_string())].iter().chain(places)
    {
        text = text.replace(place, value);
    }
    let file = folder.join(template);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Finds a program on the path or where Debian installs servers.
fn program(name: &str) -> Result<PathBuf> {
    candidates()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed"))
}

/// Returns the path of the Python binary itself. The `python` on the path may be a script that looks for it, and that lookup takes longer
/// than the CGI program.
fn real_python() -> Result<String> {
    let print = ["-c", "import sys; print(sys.executable, end='')"];
    let output = Command::new(program("python3")?).args(print).stdin(Stdio::null()).output();
    String::from_utf8(output.context("cannot run python3")?.stdout).context("the path of python3 is not UTF-8")
}

/// Finds PHP-FPM, whose name contains its version on Debian.
fn php_fpm() -> Result<PathBuf> {
    let is_fpm = |file: &PathBuf| {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.strip_prefix("php-fpm").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    let files = candidates().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    files.map(|file| file.path()).find(is_fpm).context("php-fpm is not installed")
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect::<Vec<_>>().into_iter()
}

/// Returns a program's name and version, as the program prints it.
fn version(name: &str, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String> {
    let output = Command::new(&program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.as_ref().display()))?;
    // nginx prints the version to standard error.
    let text = [output.stdout, output.stderr].concat();
    numbered(name, &String::from_utf8_lossy(&text)).with_context(|| format!("{name} does not print its version"))
}

/// Finds the first version in a text, and drops the part that only security updates change.
fn numbered(name: &str, text: &str) -> Option<String> {
    let mut words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let number = words.find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
    let (major, rest) = number.split_once('.')?;
    Some(format!("{name} {major}.{}", rest.split('.').next()?))
}
