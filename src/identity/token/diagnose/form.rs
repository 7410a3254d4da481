//! Details about a token whose form is rejected: its parts, their encoding and their JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Facts, cut};
use crate::identity::token::json;
use crate::identity::token::jws::{BOUNDS, MAX_DEPTH};

/// Describes why a token is not a compact JWS.
pub(super) fn malformed(token: &[u8]) -> Facts {
    let fault =
        |text: String| vec![("fault", text), ("expected", "three parts in base64url, joined by `.`".to_owned())];
    let foreign = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if let Some(at) = token.iter().position(foreign) {
        let byte = token.get(at).copied().unwrap_or_default();
        return fault(format!("`{}` at byte {at} is not a base64url character", byte.escape_ascii()));
    }
    let parts: Vec<_> = token.split(|byte| *byte == b'.').collect();
    if parts.len() != 3 {
        let unit = if parts.len() == 1 { "part" } else { "parts" };
        return fault(format!("{} {unit}", parts.len()));
    }
    let names = ["header", "claims", "signature"];
    let wrong = names.into_iter().zip(parts).find(|(_, part)| URL_SAFE_NO_PAD.decode(part).is_err());
    wrong.map(|(name, _)| fault(format!("the {name} is not base64url without padding"))).unwrap_or_default()
}

/// Describes why the header or the claims are not acceptable JSON.
pub(super) fn json_fault(token: &[u8]) -> Facts {
    let parts = token.split(|byte| *byte == b'.').zip(["header", "claims"]);
    for (part, name) in parts {
        let Ok(text) = URL_SAFE_NO_PAD.decode(part) else { return Facts::new() };
        let fault = match json::parse(&text, BOUNDS) {
            Ok(value) if value.is_object() => continue,
            Ok(_) => "not a JSON object".to_owned(),
            Err(fault) => fault.to_string(),
        };
        let mut facts = vec![("part", name.to_owned()), ("fault", fault)];
        let levels = depth(&text);
        if levels > usize::from(MAX_DEPTH) {
            facts.push(("depth", format!("{levels} levels")));
            facts.push(("expected", format!("at most {MAX_DEPTH} levels")));
        }
        if let Some(number) = number_out_of_range(&text) {
            facts.push(("number", cut(&number)));
            facts.push(("expected", "a number that a 64-bit floating-point number can hold".to_owned()));
        }
        return facts;
    }
    Facts::new()
}

/// Returns the bytes of a JSON text that are not inside strings.
fn outside_of_strings(text: &[u8]) -> Vec<u8> {
    let (mut inside, mut escaped) = (false, false);
    let mut outside = Vec::with_capacity(text.len());
    for byte in text.iter().copied() {
        match (inside, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => {
                inside = !inside;
                outside.push(b'"');
            }
            (true, ..) => {}
            (false, ..) => outside.push(byte),
        }
    }
    outside
}

/// Returns the nesting depth of objects and arrays.
fn depth(text: &[u8]) -> usize {
    let mut open = 0_usize;
    let depths = outside_of_strings(text).into_iter().map(|byte| {
        match byte {
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        open
    });
    depths.max().unwrap_or_default()
}

/// Returns the first number that is infinite as a 64-bit floating-point number.
fn number_out_of_range(text: &[u8]) -> Option<String> {
    let outside = outside_of_strings(text);
    let of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let numbers = outside.split(|byte| !of_number(byte)).filter_map(|run| str::from_utf8(run).ok());
    numbers.filter(|run| run.parse().is_ok_and(f64::is_infinite)).map(str::to_owned).next()
}
