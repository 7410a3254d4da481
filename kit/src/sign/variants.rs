//! Other requests that a client may have signed, for the case that a signature does not verify for the actual request.

use callgate::identity::signature::Input;

use super::Request;
use super::joined::covered_as_sent;

/// The most requests that are tried.
const MOST: usize = 128;

/// A request that the client may have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The request.
    pub request: Request,
    /// The differences from the actual request, each as the end of a sentence.
    pub differs: Vec<String>,
}

/// Returns the requests that differ from this one in the scheme, or in how the lines of covered headers are joined.
#[must_use]
pub fn variants(request: &Request, input: &Input<'_>) -> Vec<Variant> {
    let mut variants = vec![Variant { request: request.clone(), differs: Vec::new() }];
    let other = request.with_other_scheme();
    let text = format!("with the scheme `{}` instead of `{}`", other.scheme, request.scheme);
    variants.push(Variant { request: other, differs: vec![text] });
    for name in covered_as_sent(input) {
        let spaced = request.joined_with_space(name).into_iter().map(|value| {
            (
                value,
                format!(
                    "with the lines of `{name}` joined with `, `, as RFC 9421 requires; a gateway joined them with `,`"
                ),
            )
        });
        let unspaced = request
            .joined_without_space(name)
            .into_iter()
            .map(|value| (value, format!("with the lines of `{name}` joined with `,`; RFC 9421 joins them with `, `")));
        let mut more = Vec::new();
        for (value, text) in spaced.chain(unspaced) {
            more.extend(variants.iter().map(|variant| {
                let differs = variant.differs.iter().cloned().chain([text.clone()]).collect();
                Variant { request: variant.request.with_value(name, value.clone()), differs }
            }));
        }
        variants.extend(more);
        variants.truncate(MOST);
    }
    // The first is the request itself.
    variants.drain(..1);
    variants
}
