//! What a signature covers, as people name it and as the field writes it.

use callgate::Headers;

use super::quoted;

/// A covered component as the field writes it: `"@method"`, `"@query-param";name="a"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered;

impl Covered {
    /// From `@method`, `@query-param;name="a"`, or the identifier itself, which begins with a quote.
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

/// What the gate asks for unless a policy says otherwise: method, authority, path, the query where there is one, the credentials
/// that are sent, and with a body its digest and what says how to read it.
#[must_use]
pub fn usual(target: &[u8], headers: &Headers, has_body: bool) -> Vec<String> {
    let is_sent = |name: &&str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
    let query = target.contains(&b'?').then_some("@query");
    let sent = ["authorization", "dpop"].into_iter().filter(is_sent);
    let of_body = ["content-digest", "content-type", "content-encoding"].into_iter().filter(|_| has_body);
    let names = ["@method", "@authority", "@path"].into_iter().chain(query).chain(sent);
    names.chain(of_body.filter(is_sent)).map(quoted).collect()
}
