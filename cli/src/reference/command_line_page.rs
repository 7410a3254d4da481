//! The page of the command line: each command with its arguments, options and defaults, from the definitions that parse them.
//!
//! The texts about a command are the doc comments in its file in `cli/src/command/`, and must not be repeated here.

use std::fmt::Write;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, ArgAction, Command};

use super::generated;
use crate::command::{Exit, definition};

/// Returns the page.
pub(super) fn page() -> String {
    page_of(definition())
}

fn page_of(program: Command) -> String {
    let mut page = generated("Command line");
    page.push_str(
        "The commands of `callgate`, which `cargo install --path cli` installs. Each command describes itself with `--help`, and briefly \
         with `-h`. `callgate --version` prints the version.\n\n\
         | Command | Task |\n|---|---|\n",
    );
    let mut program = program.disable_help_subcommand(true);
    // Before this, usage lines do not contain the name of the program.
    program.build();
    let mut sections = String::new();
    for command in program.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        list(&mut page, &mut sections, command.get_name().to_owned(), command);
    }
    page.push_str("\n## Exit codes\n\n| Exit code | Meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::ALL {
        let _ = writeln!(page, "| {} | {} |", exit.code(), cell(meaning));
    }
    page + &sections
}

/// Appends the row and the section of a command, or those of its subcommands if it has some. `name` follows the name of the program.
fn list(page: &mut String, sections: &mut String, name: String, command: &mut Command) {
    if command.has_subcommands() {
        for command in command.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            list(page, sections, format!("{name} {}", command.get_name()), command);
        }
        return;
    }
    let anchor = name.replace(' ', "-");
    // Writing to a string does not fail.
    let _ = writeln!(page, "| [`callgate {name}`](#callgate-{anchor}) | {} |", cell(&about(command)));
    section(sections, &name, command);
}

/// Appends the section of a command.
fn section(page: &mut String, name: &str, command: &mut Command) {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let description = escaped(&description(command));
    // Writing to a string does not fail.
    let _ = writeln!(page, "\n## callgate {name}\n\n{description}\n\n```text\n{usage}\n```");
    let options = command.get_arguments().filter(|argument| !argument.is_positional());
    let listed: Vec<&Arg> = command.get_positionals().chain(options).filter(|argument| is_listed(argument)).collect();
    if listed.is_empty() {
        return;
    }
    page.push_str("\n| Argument or option | Meaning |\n|---|---|\n");
    for argument in listed {
        let _ = writeln!(page, "| {} | {} |", form(argument), cell(&meaning(argument)));
    }
}

/// Returns whether an argument needs a row. The options that print help are the same in every command.
fn is_listed(argument: &Arg) -> bool {
    let prints_help = matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    !prints_help && !argument.is_hide_set()
}

/// Returns the first sentence about a command.
fn about(command: &Command) -> String {
    sentence(&text(command.get_about()))
}

/// Returns all that its definition says about a command. The long text begins with the first sentence, without its period.
fn description(command: &Command) -> String {
    let about = about(command);
    match text(command.get_long_about()).split_once("\n\n") {
        Some((_, rest)) => format!("{about}\n\n{rest}"),
        None => about,
    }
}

/// Returns how an argument is written, such as `-X`, `--method <METHOD>`.
fn form(argument: &Arg) -> String {
    let short = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(_)) => format!("`-{short}`, "),
        _ => String::new(),
    };
    let required = if argument.is_required_set() { " (required)" } else { "" };
    format!("{short}`{argument}`{required}").replace('|', "\\|")
}

/// Returns what an argument means, its values and its default. A help text states a default that is not a constant itself.
fn meaning(argument: &Arg) -> String {
    let help = text(argument.get_long_help().or(argument.get_help()));
    let (help, default) = match help.strip_suffix(']').and_then(|help| help.rsplit_once(" [default: ")) {
        Some((help, default)) => (help, default.to_owned()),
        None => (help.as_str(), constant_default(argument)),
    };
    let mut meaning = sentence(help);
    let values = argument.get_possible_values();
    let values: Vec<String> = values.iter().filter(|value| !value.is_hide_set()).map(described).collect();
    if !values.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(meaning, " Values: {}.", values.join(", "));
    }
    if !default.is_empty() {
        let _ = write!(meaning, " Default: {default}.");
    }
    meaning
}

fn constant_default(argument: &Arg) -> String {
    // Flags have a default too, but no value that a user could write.
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let values = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    values.collect::<Vec<_>>().join(", ")
}

fn described(value: &PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("`{}` ({help})", value.get_name()),
        None => format!("`{}`", value.get_name()),
    }
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

/// Escapes angle brackets outside of code spans, which Markdown would read as HTML.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| {
        // The parts with an odd index are code spans.
        if index.is_multiple_of(2) { part.replace('<', "\\<").replace('>', "\\>") } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("`")
}

/// Returns a text for a cell of a table, which a pipe would end even in a code span.
fn cell(text: &str) -> String {
    escaped(text).replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the commands without subcommands, with their names and whether they are hidden.
    fn commands<'c>(command: &'c Command, name: &str, is_hidden: bool) -> Vec<(String, bool, &'c Command)> {
        if !command.has_subcommands() {
            return vec![(name.to_owned(), is_hidden, command)];
        }
        let subcommands = command
            .get_subcommands()
            .flat_map(|own| commands(own, &format!("{name} {}", own.get_name()), is_hidden || own.is_hide_set()));
        subcommands.collect()
    }

    #[test]
    fn every_visible_command_and_option_is_listed() {
        let page = page();
        let mut program = definition().disable_help_subcommand(true);
        program.build();
        let commands = commands(&program, "callgate", false);
        assert!(commands.iter().any(|(name, ..)| name == "callgate mcp pin"), "{commands:?}");
        for (name, is_hidden, command) in commands {
            let (_, section) = page.split_once(&format!("\n## {name}\n")).unwrap_or_default();
            let section = section.split("\n## ").next().unwrap_or_default();
            assert_eq!(section.is_empty(), is_hidden, "{name}");
            assert_eq!(page.contains(&format!("\n| [`{name}`](#{}) | ", name.replace(' ', "-"))), !is_hidden, "{name}");
            for argument in command.get_arguments().filter(|argument| !is_hidden && is_listed(argument)) {
                assert!(section.contains(&format!("\n| {} | ", form(argument))), "{name} {argument}");
            }
        }
    }

    #[test]
    fn subcommands_have_rows_and_sections() {
        let file = Arg::new("file").required(true).help("The file");
        let pin = Command::new("pin").about("Print pins").arg(file);
        let hidden = Command::new("debug").about("Print everything").hide(true);
        let page = page_of(Command::new("callgate").subcommand(Command::new("mcp").subcommand(pin).subcommand(hidden)));
        for part in [
            "| [`callgate mcp pin`](#callgate-mcp-pin) | Print pins. |\n",
            "\n## callgate mcp pin\n\nPrint pins.\n\n```text\ncallgate mcp pin <file>\n```\n",
        ] {
            assert!(page.contains(part), "{part}\n---\n{page}");
        }
        assert!(!page.contains("`callgate mcp`") && !page.contains("debug") && !page.contains("mcp help"), "{page}");
    }

    #[test]
    fn escapes_markup_and_states_defaults() {
        let id = Arg::new("id").long("id").short('i').value_name("A|B").help("An id <i> [default: the first]");
        let top = Arg::new("top").long("top").default_value("50").help("How many");
        let find = Command::new("find").about("Find <b> | `a|<b>`").arg(id).arg(top);
        let page = page_of(Command::new("callgate").subcommand(find));
        for part in [
            "| [`callgate find`](#callgate-find) | Find \\<b\\> \\| `a\\|<b>`. |\n",
            "\n## callgate find\n\nFind \\<b\\> | `a|<b>`.\n\n```text\ncallgate find [OPTIONS]\n```\n",
            "\n| `-i`, `--id <A\\|B>` | An id \\<i\\>. Default: the first. |\n",
            "\n| `--top <top>` | How many. Default: `50`. |\n",
        ] {
            assert!(page.contains(part), "{part}\n---\n{page}");
        }
        assert!(!page.contains("callgate help") && !page.contains("--help <"), "{page}");
    }
}
