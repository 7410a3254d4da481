//! `callgate records`: reports who was allowed or denied what, from the records in gateways' logs.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Exit, Failure, Format};
use callgate_kit::escape;
use callgate_kit::input::{Input, unreadable};
use callgate_kit::moment::Moment;
use callgate_kit::records::{Group, Line, Lines, Record, Summary, Words, open, show};

/// The most records that are printed in full.
const MOST_IN_FULL: u64 = 20;

/// Summarize the decision records in logs: which requests were allowed or denied, for whom and why
///
/// Reads files with one record per line, Envoy access logs with the record in a member, and Envoy's application log; plain or
/// compressed with gzip. Lines without a record are counted and skipped. A decision that is in both an access log and
/// Envoy's application log is counted twice if both are read. Exits with 3 if no record matches the search.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The log files; - for standard input
    #[arg(required = true)]
    files: Vec<String>,
    /// Only requests of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only requests whose token has this subject, in the form that records show
    #[arg(long)]
    subject: Option<String>,
    /// Only requests with this token: its hash from a record, or the token itself as `@FILE`, `-` or `env:NAME`
    #[arg(long, value_name = "HASH|@FILE")]
    token: Option<Input>,
    /// Only decisions with this reason code, or this ground of an allowed request
    #[arg(long)]
    reason: Option<String>,
    /// Only requests to this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only requests for this tool of an MCP server, in the form that records show
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Group requests that agents made for others by their chain (for whom, and through which agents), instead of by the agent
    #[arg(long, conflicts_with = "id")]
    chain: bool,
    /// Only requests with this decision
    #[arg(long, value_parser = ["allow", "deny", "observe"])]
    decision: Option<String>,
    /// Print the decision with this id in full: the id, its beginning, or the `instance` member of the gate's response
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// Print one line per matching record, in the order of the logs, instead of groups
    #[arg(long, conflicts_with = "id")]
    list: bool,
    /// Only decisions at or after this time: `2027-06-30T12:00:00Z`, `2027-06-30` or `2027-06-30T12:00` in local time, seconds since
    /// 1970, or relative to now, such as `-1h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Only decisions before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// The member of the access log's lines that contains the record
    #[arg(long, value_name = "NAME", default_value = "callgate")]
    member: String,
    /// The number of groups to print as text; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    top: usize,
    /// `json` prints {lines, records, without_record, matching, groups: [{decision, reason, who, what, count, first, last,
    /// last_id}]}; with --list, one record per line
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Counts of what was read.
#[derive(Debug, Default, Serialize)]
struct Read {
    lines: u64,
    records: u64,
    without_record: u64,
    matching: u64,
    /// The position of the first line without a record, with its file.
    #[serde(skip)]
    first_without: Option<String>,
}

/// Summarizes the records.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let filter = Filter::new(arguments)?;
    let bar = progress(&arguments.files);
    let mut read = Read::default();
    let mut summary = Summary::default();
    let mut broken = Vec::new();
    for name in &arguments.files {
        let mut take = |record: &Record| -> io::Result<()> {
            read.records += 1;
            if filter.takes(record) {
                read.matching += 1;
                if arguments.list {
                    return bar.suspend(|| list(record, arguments.format, out));
                }
                if arguments.chain {
                    summary.add_by_chain(record);
                } else {
                    summary.add(record);
                }
                if arguments.id.is_some() && arguments.format == Format::Human && read.matching <= MOST_IN_FULL {
                    bar.suspend(|| writeln!(out, "{}", Words { record, place: &|_| None }))?;
                }
            }
            Ok(())
        };
        let mut lines = match open(name).and_then(|file| Lines::new(bar.wrap_read(file), &arguments.member)) {
            Ok(lines) => lines,
            Err(error) => {
                broken.push(format!("{}: {}", shown(name), unreadable(&error)));
                continue;
            }
        };
        loop {
            match lines.read() {
                Ok(None) => break,
                Ok(Some(Line::Record(record))) => take(&record)?,
                Ok(Some(Line::Other)) => {
                    read.without_record += 1;
                    read.first_without.get_or_insert_with(|| format!("{}:{}", shown(name), lines.number()));
                }
                Err(error) => {
                    let after = lines.number();
                    broken.push(format!("{}:{after}: cannot read the file after this line: {error}", shown(name)));
                    break;
                }
            }
        }
    }
    bar.finish_and_clear();
    read.lines = read.records + read.without_record;
    let groups = summary.groups();
    match arguments.format {
        Format::Json if arguments.list => {}
        Format::Json => writeln!(out, "{}", escape::json(&Programs { read: &read, groups: &groups })?)?,
        Format::Human => people(arguments, &read, &groups, out)?,
    }
    out.flush()?;
    for problem in &broken {
        eprintln!("callgate: {}", escape::text(problem));
    }
    Ok(match (broken.is_empty(), read.matching) {
        (false, _) => Exit::Trouble,
        (true, 0) if filter.searches() => Exit::NothingFound,
        (true, _) => Exit::Fine,
    })
}

/// Prints one record as a line.
fn list(record: &Record, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", escape::json_line(&record.to_value()?)?),
        Format::Human => {
            let time = record.time_ms.map_or_else(|| "at an unknown time".to_owned(), show);
            let Record { decision, reason, id, .. } = record;
            let id = id.as_deref().unwrap_or("-");
            let line = format!("{time}  {decision} {reason}  {}  {}  {id}", record.who(), record.request_line());
            writeln!(out, "{}", escape::text(&line))
        }
    }
}

#[derive(Serialize)]
struct Programs<'p> {
    #[serde(flatten)]
    read: &'p Read,
    groups: &'p [Group],
}

/// Selects records by the arguments.
struct Filter<'f> {
    arguments: &'f Arguments,
    /// The hash of the requested token.
    token: Option<String>,
    /// In milliseconds since 1970-01-01 UTC.
    since: Option<u64>,
    until: Option<u64>,
}

impl<'f> Filter<'f> {
    fn new(arguments: &'f Arguments) -> Result<Self, Failure> {
        let milliseconds = |moment: Option<Moment>| moment.map(|moment| moment.resolve().saturating_mul(1000));
        let token = arguments.token.as_ref().map(token_hash).transpose()?;
        Ok(Self { arguments, token, since: milliseconds(arguments.since), until: milliseconds(arguments.until) })
    }

    /// Returns whether a search condition is given, in which case an empty result is reported by the exit status.
    fn searches(&self) -> bool {
        let Arguments { agent, subject, token, reason, endpoint, tool, decision, id, since, until, .. } =
            self.arguments;
        let texts = [agent, subject, reason, endpoint, tool, decision, id];
        texts.iter().any(|text| text.is_some())
            || self.arguments.chain
            || token.is_some()
            || since.is_some()
            || until.is_some()
    }

    /// Returns whether a record matches. A record without a requested member does not match.
    fn takes(&self, record: &Record) -> bool {
        let Arguments { agent, subject, reason, endpoint, tool, decision, id, .. } = self.arguments;
        let is = |wanted: &Option<String>, own: Option<&String>| wanted.is_none() || wanted.as_ref() == own;
        // In observe mode, the record lists all reasons that would have denied the request, not only the first.
        let would = record.would_deny.iter().any(|denial| Some(&denial.reason) == reason.as_ref());
        is(agent, record.agent.as_ref())
            && is(subject, record.subject.as_ref())
            && self.token.as_ref().is_none_or(|token| record.has_token(token))
            && (is(reason, Some(&record.reason)) || would)
            && is(endpoint, record.endpoint.as_ref())
            && tool.as_deref().is_none_or(|tool| record.tool() == Some(tool))
            && is(decision, Some(&record.decision))
            && id.as_ref().is_none_or(|id| record.has_id(id))
            && (!self.arguments.chain || record.chain().is_some())
            && self.since.is_none_or(|since| record.time_ms.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| record.time_ms.is_some_and(|time| time < until))
    }
}

fn people(arguments: &Arguments, read: &Read, groups: &[Group], out: &mut dyn Write) -> io::Result<()> {
    if arguments.id.is_some() {
        if read.matching > MOST_IN_FULL {
            writeln!(out, "… and {} more; give more characters of the id", read.matching - MOST_IN_FULL)?;
        }
    } else if !groups.is_empty() {
        // With `--list` there are no groups.
        let top = if arguments.top == 0 { groups.len() } else { arguments.top };
        for line in table(groups.get(..top.min(groups.len())).unwrap_or_default()).lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        if groups.len() > top {
            writeln!(out, "… and {} more groups; --top 0 prints all", groups.len() - top)?;
        }
    }
    let records = if read.records == 1 { "1 record".to_owned() } else { format!("{} records", read.records) };
    match read.matching {
        all if all == read.records => writeln!(out, "{records}")?,
        0 => writeln!(out, "none of {records} matched")?,
        some => writeln!(out, "{some} of {records} matched")?,
    }
    if let Some(first) = &read.first_without {
        let lines = if read.without_record == 1 {
            "1 line contains".to_owned()
        } else {
            format!("{} lines contain", read.without_record)
        };
        writeln!(out, "{lines} no record (first {})", escape::text(first))?;
    }
    Ok(())
}

fn table(groups: &[Group]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["decision", "reason", "who", "what", "count", "first", "last", "last id"]);
    for Group { key, count, first, last, last_id } in groups {
        let time = |time: &Option<u64>| time.map(show).unwrap_or_default();
        let safe = |text: &str| escape::text(text).to_string();
        table.add_row([
            safe(&key.decision),
            safe(&key.reason),
            safe(&key.who),
            safe(&key.what),
            count.to_string(),
            time(first),
            time(last),
            safe(last_id.as_deref().unwrap_or_default()),
        ]);
    }
    if let Some(count) = table.column_mut(4) {
        count.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns the token's hash as it appears in records. The input is the hash, or the token itself, which should not be passed where
/// the process list shows it.
fn token_hash(input: &Input) -> Result<String, Failure> {
    const MIN_DIGITS: usize = 16;
    let text = input.read().map_err(Failure::Trouble)?;
    if matches!(input, Input::Text(_)) {
        let is_hash = text.len() >= MIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let message = format!(
            "--token: invalid hash; expected at least {MIN_DIGITS} hexadecimal digits from a record, or the token as `@FILE` or `-`"
        );
        return if is_hash { Ok(text) } else { Err(Failure::Trouble(message)) };
    }
    let hash = callgate::identity::token::token_hash(text.trim().as_bytes());
    hash.ok_or_else(|| Failure::Trouble(format!("--token: {input} contains no JSON Web Token in compact form")))
}

fn shown(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

/// Returns a progress bar over all files whose size is known. It appears after a delay, so a short run shows none.
fn progress(files: &[String]) -> ProgressBar {
    let sizes: Option<u64> = files.iter().map(|name| Some(std::fs::metadata(name).ok()?.len())).sum();
    let (bar, form) = match sizes {
        Some(bytes) if bytes < ENOUGH_TO_WAIT_FOR => (ProgressBar::hidden(), ""),
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {bytes}/{total_bytes} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} ({elapsed})"),
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The bytes that are read before a user could notice a progress bar.
const ENOUGH_TO_WAIT_FOR: u64 = 16 << 20;
