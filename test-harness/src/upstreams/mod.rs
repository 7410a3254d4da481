//! Measures how upstream servers interpret ambiguous requests and the requests that the gate forwards.
//!
//! Each server of [`servers`] runs an application with the routes of one policy and returns its reading of the request. The reading is
//! compared with that of a [strict](strict) reader. Requests that the servers misread are sent to them without the gate, for the table in
//! `docs/reference/upstreams.md`. Servers must read a forwarded request as the gate read it.

mod document;
mod install;
mod reading;
mod requests;
mod server;
mod servers;
mod strict;

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

pub use document::compare;
pub use install::install;

use crate::client;
use reading::{NO_ROUTE, Reading};
use requests::{Case, Requests, Sent};
use server::Running;
use servers::{Home, SERVERS, Server};

/// The measurements on this machine.
#[derive(Debug, Default)]
pub struct Report {
    /// The servers that ran.
    pub ran: Vec<Measured>,
    /// The servers that could not run, each with a one-line reason.
    pub skipped: Vec<String>,
}

/// How one server read the requests.
#[derive(Debug)]
pub struct Measured {
    /// The id of its part of the document.
    pub id: &'static str,
    /// Its name in the document.
    pub title: &'static str,
    /// The versions of its components.
    pub versions: String,
    /// The requests that it reads differently without the gate.
    pub rows: Vec<Row>,
    /// Allowed requests that it rejects itself, each with how it rejects them.
    pub rejected: Vec<(String, String)>,
    /// Allowed requests that it reads differently than the gate, each with the difference.
    pub misread: Vec<(String, String)>,
    /// How many allowed requests it read.
    pub replayed: usize,
}

/// A request that a server reads differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The request.
    pub request: String,
    /// How the server reads it.
    pub reading: String,
    /// What the gate does with it.
    pub gate: String,
}

/// Runs every server that this machine has, with every request.
///
/// # Errors
/// When a case is invalid or an installed server does not start.
pub fn measure() -> Result<Report> {
    let requests = Requests::load()?;
    let home = Home::find();
    let mut report = Report::default();
    let results: Vec<Result<Result<Measured, String>>> = thread::scope(|scope| {
        let (home, requests) = (&home, &requests);
        let threads: Vec<_> = SERVERS.iter().map(|server| scope.spawn(move || run(server, home, requests))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    });
    for result in results {
        match result? {
            Ok(measured) => report.ran.push(measured),
            Err(skipped) => report.skipped.push(skipped),
        }
    }
    Ok(report)
}

/// Runs one server. The inner error states in one line why the server is not available.
fn run(server: &Server, home: &Home, requests: &Requests) -> Result<Result<Measured, String>> {
    let versions = match (server.versions)(home) {
        Ok(versions) => versions,
        Err(error) => return Ok(Err(format!("{}: not run: {error:#}", server.title))),
    };
    let running = Running::start(server, home)?;
    let mut measured = Measured {
        id: server.id,
        title: server.title,
        versions,
        rows: Vec::new(),
        rejected: Vec::new(),
        misread: Vec::new(),
        replayed: 0,
    };
    for case in requests.own(server.merges_json) {
        if let Some(raw) = &case.raw
            && let Answer::Read(reading) = ask(server, &running, raw)?
            && let Some(reading) = reading.differs_from(&raw.strict).filter(|reading| reading != NO_ROUTE)
        {
            measured.rows.push(Row { request: case.title.clone(), reading, gate: case.gate.clone() });
        }
        measured.replay(server, &running, case, Reading::differs_from)?;
    }
    for case in &requests.corpus {
        measured.replay(server, &running, case, Reading::echo_differs_from)?;
    }
    Ok(Ok(measured))
}

impl Measured {
    /// Sends the forwarded form of a case, and compares the reading.
    fn replay(
        &mut self,
        server: &Server,
        running: &Running,
        case: &Case,
        differs: impl Fn(&Reading, &Reading) -> Option<String>,
    ) -> Result<()> {
        let Some(forwarded) = &case.forwarded else { return Ok(()) };
        self.replayed += 1;
        match ask(server, running, forwarded)? {
            Answer::Read(reading) => {
                let Some(how) = differs(&reading, &forwarded.strict) else { return Ok(()) };
                // A server may have no route for an odd request, but must have one for the others.
                let rejects = how == NO_ROUTE && case.raw.is_some();
                let list = if rejects { &mut self.rejected } else { &mut self.misread };
                list.push((case.title.clone(), how));
            }
            Answer::Rejected(how) => self.rejected.push((case.title.clone(), how)),
        }
        Ok(())
    }
}

/// How often a request is sent until it gets a response.
const ATTEMPTS: usize = 5;

/// A server's response.
enum Answer {
    Read(Box<Reading>),
    Rejected(String),
}

fn ask(server: &Server, running: &Running, sent: &Sent) -> Result<Answer> {
    // A server that closes a connection with an unread body resets it, and the response may be lost.
    let mut answers = (0..ATTEMPTS).map(|_| client::call(running.address, &sent.request));
    let Some(response) = answers.find_map(Result::ok) else {
        return Ok(Answer::Rejected("closes the connection".to_owned()));
    };
    if response.status != 200 {
        return Ok(Answer::Rejected(format!("answers {}", response.status)));
    }
    let reading = Reading::parse(&response.body);
    let reading = reading.with_context(|| format!("{} answers `{}`", server.title, response.text()))?;
    let reading = if server.hands_on_raw_parameters { reading.with_decoded_parameters() } else { reading };
    Ok(Answer::Read(Box::new(reading)))
}

/// The lower bound for the corpus plus the requests of this folder. Fewer means that some were not sent.
const LEAST_REPLAYED: usize = 200;

/// Allowed requests in which servers read a value differently than the gate, with the servers' ids. Each is in the servers' tables and in
/// the text of the document. No difference leads to another endpoint.
const KNOWN: [(&str, &[&str]); 1] = [
    // The slash at the end of a value of `{path...}`.
    ("`/files/a/`", &["php-laravel", "puma-rails"]),
];

/// Fails if a server reads an allowed request differently than the gate and the difference is not known, or if a known difference no longer
/// exists.
///
/// # Errors
/// Lists every such request.
pub fn judge(report: &Report) -> Result<()> {
    let mut wrong = Vec::new();
    for server in &report.ran {
        ensure!(server.replayed > LEAST_REPLAYED, "{}: only {} forwarded requests", server.title, server.replayed);
        let known: Vec<_> =
            KNOWN.iter().filter(|(_, ids)| ids.contains(&server.id)).map(|(request, _)| *request).collect();
        let new = server.misread.iter().filter(|(request, _)| !known.contains(&request.as_str()));
        wrong.extend(new.map(|(request, how)| format!("{}: {request}: {how}", server.title)));
        let gone = known.iter().filter(|known| !server.misread.iter().any(|(request, _)| request == *known));
        wrong.extend(gone.map(|request| {
            format!("{}: {request} is interpreted as the gate interprets it; remove it from `KNOWN`", server.title)
        }));
    }
    ensure!(wrong.is_empty(), "allowed requests are interpreted differently:\n{}", wrong.join("\n"));
    Ok(())
}
