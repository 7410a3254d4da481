//! The components that a signature covers, in the notation of users and in that of the header field.

use callgate::Headers;

use super::quoted;

/// A covered component as the field writes it: `"@method"`, `"@query-param";name="a"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered;

impl Covered {
    /// Converts `@method` or `@query-param;name="a"`. An identifier that begins with a quote stays as it is.
    #[must_use]
    pub fn written(name: &str) -> String {
        if name.starts_with('"') {
            return name.to_owned();
        }
        match name.split_once(';') {
            Some((name, parameters)) => format!("{};{parameters}", quoted(name)),
            None => quoted(name),
        }
    }
}

/// Returns the components that the gate requires by default: method, authority, path, the query if there is one, the credentials
/// that are sent, and for a body its digest and the headers that state how to read it.
#[must_use]
pub fn usual(target: &[u8], headers: &Headers, has_body: bool) -> Vec<String> {
    let is_sent = |name: &&str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
    let query = target.contains(&b'?').then_some("@query");
    let sent = ["authorization", "dpop"].into_iter().filter(is_sent);
    let of_body = ["content-digest", "content-type", "content-encoding"].into_iter().filter(|_| has_body);
    let names = ["@method", "@authority", "@path"].into_iter().chain(query).chain(sent);
    names.chain(of_body.filter(is_sent)).map(quoted).collect()
}
