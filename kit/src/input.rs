//! Argument values that can come from outside the process list, such as tokens and keys.
//!
//! `@FILE` reads a file, `-` standard input, `env:NAME` an environment variable; any other text is the value itself. Messages name
//! the source and never the value.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

/// The most bytes that are read from a file or from standard input, unless a larger value is expected.
const MAX_BYTES: u64 = 1 << 20;

/// The source of an argument's value.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// An environment variable.
    Environment(String),
    /// A file.
    File(String),
    /// Standard input.
    Stdin,
    /// The argument itself.
    Text(String),
}

impl FromStr for Input {
    type Err = std::convert::Infallible;

    fn from_str(argument: &str) -> Result<Self, Self::Err> {
        Ok(match (argument, argument.strip_prefix('@'), argument.strip_prefix("env:")) {
            ("-", ..) => Self::Stdin,
            (_, Some(file), _) => Self::File(file.to_owned()),
            (_, _, Some(name)) => Self::Environment(name.to_owned()),
            _ => Self::Text(argument.to_owned()),
        })
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::File(file) => f.write_str(file),
            Self::Stdin => f.write_str("standard input"),
            Self::Text(_) => f.write_str("the argument"),
        }
    }
}

impl fmt::Debug for Input {
    /// Shows the source, never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({self})")
    }
}

impl Input {
    /// Returns the value without the final line break that editors and `echo` add.
    ///
    /// # Errors
    /// Returns a sentence that names the source.
    pub fn read(&self) -> Result<String, String> {
        if let Self::Text(text) = self {
            return Ok(text.clone());
        }
        let text = String::from_utf8(self.bytes()?).map_err(|_| format!("{self} is not UTF-8 text"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() { Err(format!("{self} is empty")) } else { Ok(text.to_owned()) }
    }

    /// Returns the value as unchanged bytes.
    ///
    /// # Errors
    /// Returns a sentence that names the source.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        self.bytes_up_to(MAX_BYTES)
    }

    /// Returns the value as unchanged bytes, of which a file or standard input may have as many as this.
    ///
    /// # Errors
    /// Returns a sentence that names the source.
    pub fn bytes_up_to(&self, most: u64) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Environment(name) => match std::env::var(name) {
                Ok(text) => Ok(text.into_bytes()),
                Err(std::env::VarError::NotPresent) => Err("is not set".to_owned()),
                Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8 text".to_owned()),
            },
            Self::File(file) => {
                File::open(file).map_err(|error| unreadable(&error)).and_then(|file| bounded(file, most))
            }
            Self::Stdin => bounded(io::stdin().lock(), most),
        };
        bytes.map_err(|problem| format!("{self} {problem}"))
    }
}

/// Reads everything from a source that holds at most `most` bytes. The error text continues a sentence that begins with the
/// source's name.
pub fn bounded(source: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > most {
        return Err(format!("exceeds {} MiB", most >> 20));
    }
    Ok(bytes)
}

/// Returns why something cannot be read. The text continues a sentence that begins with its name.
pub fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory; name a file".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(argument: &str) -> Input {
        argument.parse().unwrap_or_else(|never| match never {})
    }

    #[test]
    fn prefix_selects_the_input_source() {
        for (argument, source) in [
            ("@key.json", Input::File("key.json".into())),
            ("-", Input::Stdin),
            ("env:TOKEN", Input::Environment("TOKEN".into())),
            ("eyJ.a.b", Input::Text("eyJ.a.b".into())),
            ("", Input::Text(String::new())),
            ("--", Input::Text("--".into())),
        ] {
            assert_eq!(input(argument), source, "{argument}");
        }
    }

    #[test]
    fn names_the_source_that_cannot_be_read() {
        for (argument, message) in [
            ("@missing.json", "missing.json does not exist"),
            ("@src", "src is a directory; name a file"),
            ("env:CALLGATE_TEST_NOT_SET", "the environment variable CALLGATE_TEST_NOT_SET is not set"),
            ("@/dev/null", "/dev/null is empty"),
            ("@/dev/zero", "/dev/zero exceeds 1 MiB"),
        ] {
            assert_eq!(input(argument).read().unwrap_err(), message);
        }
    }

    #[test]
    fn display_and_debug_hide_the_value() {
        assert_eq!(format!("{0} {0:?}", input("hunter2")), "the argument Input(the argument)");
    }
}
