use super::{CertificateRules, is_spiffe};
use crate::request::certificate::ClientCertificate;
use crate::request::certificate::testing::{Certificate, element};
use crate::text::time::Timestamp;

const ID: &str = "spiffe://example.org/ns/prod/agent";
/// 2026-11-21 12:00 UTC.
const NOW: Timestamp = Timestamp::from_secs(1_795_262_400);

fn rules(takes_other_names: bool) -> CertificateRules {
    CertificateRules {
        trust_domains: vec!["example.org".into()],
        proxies: vec!["spiffe://example.org/proxy".into()],
        takes_other_names,
        alone: true,
    }
}

/// Returns why a certificate with these names identifies nobody, or what identifies its holder.
fn holder(uris: &[&str], dns: &[&str], takes_other_names: bool) -> String {
    let presented = Certificate { uris, dns, ..Certificate::default() }.presented();
    let certificate = rules(takes_other_names).verify(&presented, NOW).unwrap();
    match (certificate.fault(), certificate.spiffe_id(), certificate.other_names()) {
        (Some(why), None, None) => why.to_owned(),
        (None, Some(id), None) => id.to_owned(),
        (None, None, Some(names)) => [&*names.uris, &*names.dns].concat().join(" "),
        (None, None, None) if certificate.is_of_proxy() => "proxy".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn exactly_one_uri_of_an_accepted_trust_domain_identifies_a_workload() {
    let invalid = "its URI is not a valid SPIFFE ID";
    let domain = "its trust domain is not one of `tls.trust_domains`";
    let another = "it has a SPIFFE ID and another URI";
    for (uris, expected) in [
        (&[ID][..], ID),
        (&[ID, "spiffe://example.org/ns/prod/other"], another),
        (&[ID, ID], another),
        (&["urn:example:agent", ID], another),
        (&["spiffe://example.com/ns/prod/agent"], domain),
        (&["spiffe://sub.example.org/ns/prod/agent"], domain),
        (&["spiffe://EXAMPLE.org/ns/prod/agent"], invalid),
        (&["SPIFFE://example.org/ns/prod/agent"], invalid),
        (&["Spiffe:example.org"], invalid),
        (&["spiffe://example.org/ns//agent"], invalid),
        (&["spiffe://example.org/ns/../agent"], invalid),
        (&["spiffe://example.org/ns/%61gent"], invalid),
        (&["spiffe://example.org/agent/"], invalid),
        (&["spiffe://example.org"], invalid),
        (&["spiffe://example.org:443/agent"], invalid),
        (&["spiffe://user@example.org/agent"], invalid),
        (&["spiffe://example.org/agent?a"], invalid),
        (&["spiffe://example.org/agent#a"], invalid),
        (&["spiffe://example.org/proxy"], "proxy"),
        (&["spiffe://example.org/proxy/a"], "spiffe://example.org/proxy/a"),
        (&[], "it has no URI and no DNS name"),
        (&["urn:example:agent"], "it has no SPIFFE ID"),
    ] {
        assert_eq!(holder(uris, &[], false), expected, "{uris:?}");
    }
}

#[test]
fn other_names_count_only_without_a_spiffe_id() {
    assert_eq!(holder(&["urn:A"], &["Agent.example.com"], true), "urn:A agent.example.com");
    assert_eq!(holder(&[], &["agent.example.com"], true), "agent.example.com");
    assert_eq!(holder(&[], &["agent.example.com"], false), "it has no SPIFFE ID");
    assert_eq!(holder(&[], &[], true), "it has no URI and no DNS name");
    // An authority of another trust domain cannot use the names of this one.
    for foreign in ["spiffe://example.com/agent", "SPIFFE://x/agent", "spiffe:"] {
        assert!(holder(&[foreign], &["agent.example.com"], true).starts_with("its "), "{foreign}");
    }
}

#[test]
fn an_authority_identifies_nobody() {
    let presented = Certificate { uris: &[ID], is_authority: true, ..Certificate::default() }.presented();
    let certificate = rules(true).verify(&presented, NOW).unwrap();
    assert!(!certificate.names_somebody() && certificate.fault().is_some());
}

#[test]
fn a_certificate_that_could_be_that_of_an_agent_is_unclear() {
    let is_unclear = |uris: &[&str], is_authority: bool| {
        let presented =
            Certificate { uris, dns: &["agent.example.com"], is_authority, ..Certificate::default() }.presented();
        rules(true).verify(&presented, NOW).unwrap().is_unclear()
    };
    let foreign = "spiffe://example.com/ns/prod/agent";
    for several in [&[ID, ID][..], &[ID, foreign], &[foreign, ID], &["urn:A", ID], &["spiffe://example.org/proxy", ID]]
    {
        assert!(is_unclear(several, false), "{several:?}");
    }
    for clear in
        [&[ID][..], &[], &["urn:A", "urn:B"], &[foreign], &["SPIFFE://x/agent"], &["spiffe://example.org/proxy"]]
    {
        assert!(!is_unclear(clear, false), "{clear:?}");
    }
    assert!(!is_unclear(&[ID], true), "an authority is no agent");
}

#[test]
fn after_its_last_second_a_certificate_identifies_nobody() {
    let dates = ["261120120000Z", "261121120000Z"].map(|date| element(0x17, &[date.as_bytes().to_vec()]));
    for (uris, dns) in [(&[ID][..], &[][..]), (&[], &["agent.example.com"])] {
        let presented = Certificate { uris, dns, dates: Some(&dates), ..Certificate::default() }.presented();
        let at = |now: Timestamp| rules(true).verify(&presented, now).unwrap();
        assert!(at(NOW).names_somebody() && !at(NOW).is_unclear());
        let late = at(Timestamp::from_nanos(NOW.as_nanos() + 1));
        assert!(late.is_unclear() && !late.names_somebody());
        assert_eq!((late.fault(), late.spiffe_id(), late.other_names()), (Some("it has expired"), None, None));
    }
    // The clients of a proxy are never known by its certificate, so a token that is bound to it never counts.
    let proxy = ["spiffe://example.org/proxy"];
    let presented = Certificate { uris: &proxy, dates: Some(&dates), ..Certificate::default() }.presented();
    assert!(rules(true).verify(&presented, Timestamp::from_secs(NOW.as_secs() + 1)).unwrap().is_of_proxy());
}

#[test]
fn a_malformed_certificate_is_not_verified() {
    assert!(rules(true).verify(&ClientCertificate::new(b"", b""), NOW).is_none());
}

#[test]
fn the_scheme_of_spiffe_ids_is_recognized_in_any_case() {
    for uri in ["spiffe:", "SPIFFE://a", "sPiFfE:x"] {
        assert!(is_spiffe(uri), "{uri}");
    }
    for uri in ["", "spiffe", "spiff:e", "urn:spiffe:", "éspiffe:"] {
        assert!(!is_spiffe(uri), "{uri}");
    }
}
