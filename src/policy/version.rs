//! The version of a policy: a hash of what it says, however it was delivered.

use serde_json::Value;

/// SHA-256 over the document's canonical JSON (RFC 8785), in lower-case hexadecimal digits.
///
/// # Errors
/// When the document holds a number that canonical JSON cannot write.
pub(crate) fn version(document: &Value) -> Result<String, serde_json::Error> {
    let canonical = serde_json_canonicalizer::to_vec(document)?;
    Ok(hex(&hmac_sha256::Hash::hash(&canonical)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_spelling_do_not_change_the_version() {
        let one: Value = serde_json::from_str(r#"{"b": 1.0, "a": "\u00e9"}"#).unwrap();
        let other: Value = serde_json::from_str("{\"a\":\"é\",\"b\":1}").unwrap();
        assert_eq!(version(&one).unwrap(), version(&other).unwrap());
        assert_ne!(version(&one).unwrap(), version(&json!({ "a": "e", "b": 1 })).unwrap());
        // SHA-256 of `{}`.
        assert_eq!(version(&json!({})).unwrap(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
