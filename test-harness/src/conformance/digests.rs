//! `Content-Digest`: RFC 9530, appendix D.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::conformance::{Case, Verdict};
use serde::Deserialize;

use super::engines::Engines;
use super::parse;
use super::report::{Checked, Outcome};

#[derive(Deserialize)]
struct File {
    input: String,
    digests: BTreeMap<String, String>,
    /// The digests of weak algorithms, which match but must not be accepted as proof.
    published_but_must_not_be_accepted_as_security: BTreeMap<String, String>,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { input, digests, published_but_must_not_be_accepted_as_security: weak } = parse(text)?;
    let strong = digests.into_iter().map(|digest| (digest, true));
    let weak = weak.into_iter().map(|digest| (digest, false));
    let check = |((name, value), proves): ((String, String), bool)| {
        let case = Case::Digest { field: format!("{name}={value}"), body: STANDARD.encode(&input) };
        let outcome = engines.check(&case, |verdict| {
            let as_expected = match verdict {
                Verdict::Accepted(_) => proves,
                Verdict::Refused(why) => !proves && why == "content_digest_missing",
                Verdict::Broken(_) => false,
            };
            as_expected.then_some(Outcome::Passed)
        });
        Checked::new(name, outcome)
    };
    Ok(strong.chain(weak).map(check).collect())
}
