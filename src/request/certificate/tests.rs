use proptest::prelude::*;

use super::testing::{Certificate, element, extension, pem, sha256_hex};
use super::{ClientCertificate, MOST_CERTIFICATE_BYTES, Names};

const ID: &str = "spiffe://example.org/ns/prod/agent";

fn read(der: &[u8]) -> Option<Names> {
    let certificate = ClientCertificate::new(pem(der).as_bytes(), sha256_hex(der).as_bytes());
    certificate.contents().map(|contents| contents.names.clone())
}

fn agent() -> Vec<u8> {
    Certificate { uris: &[ID], ..Certificate::default() }.der()
}

#[test]
fn reads_names_in_their_order_and_dns_names_in_lower_case() {
    let der = Certificate { uris: &[ID, "urn:A"], dns: &["Agent.Example.com", "*.b"], ..Certificate::default() }.der();
    let names = read(&der).unwrap();
    assert_eq!(names.uris, [ID.into(), "urn:A".into()] as [Box<str>; 2]);
    assert_eq!(names.dns, ["agent.example.com".into(), "*.b".into()] as [Box<str>; 2]);
    assert!(!names.is_authority);
    assert_eq!(read(&Certificate::default().der()), Some(Names::default()));
}

/// A self-signed certificate that OpenSSL 3 made: `openssl req -x509 -newkey ed25519 -subj /CN=agent -addext subjectAltName=...`.
#[test]
fn reads_a_certificate_of_openssl() {
    let pem = include_str!("openssl.pem");
    let certificate = ClientCertificate::first_of(pem.as_bytes()).unwrap();
    let names = &certificate.contents().unwrap().names;
    assert_eq!(names.uris, [ID.into()] as [Box<str>; 1]);
    assert_eq!(names.dns, ["agent.example.com".into()] as [Box<str>; 1]);
    assert!(!names.is_authority);
}

#[test]
fn reads_other_kinds_of_names_and_takes_none_of_them() {
    let others = [
        element(0x81, &[b"a@example.com".to_vec()]),
        element(0x87, &[vec![192, 0, 2, 1]]),
        element(0xa4, &[element(0x30, &[])]),
        element(0xa0, &[element(0x06, &[vec![0x2a]]), element(0xa0, &[element(0x0c, &[b"a".to_vec()])])]),
    ];
    let names = extension(&[0x55, 0x1d, 0x11], &element(0x30, &others));
    assert_eq!(read(&Certificate { extensions: &[names], ..Certificate::default() }.der()), Some(Names::default()));
}

#[test]
fn certificates_that_may_sign_others_are_those_of_authorities() {
    let authority = Certificate { uris: &[ID], is_authority: true, ..Certificate::default() };
    assert!(read(&authority.der()).unwrap().is_authority);
    for (bits, is_authority) in [(0x80, false), (0x04, true), (0x02, true), (0x86, true), (0x08, false)] {
        let certificate = Certificate { uris: &[ID], key_usage: Some(bits), ..Certificate::default() };
        assert_eq!(read(&certificate.der()).unwrap().is_authority, is_authority, "{bits:x}");
    }
    // The default, which DER does not write, and a bound on the length of paths.
    for (constraints, is_authority) in [
        (element(0x30, &[]), false),
        (element(0x30, &[element(0x01, &[vec![0]])]), false),
        (element(0x30, &[element(0x01, &[vec![0xff]]), element(0x02, &[vec![0]])]), true),
    ] {
        let extensions = [extension(&[0x55, 0x1d, 0x13], &constraints)];
        let certificate = Certificate { extensions: &extensions, ..Certificate::default() };
        assert_eq!(read(&certificate.der()).unwrap().is_authority, is_authority);
    }
}

#[test]
fn rejects_ambiguous_extensions_and_names() {
    let names = |names: &[Vec<u8>]| extension(&[0x55, 0x1d, 0x11], &element(0x30, names));
    let uri = |uri: &[u8]| element(0x86, &[uri.to_vec()]);
    for (what, extensions) in [
        ("two extensions of a kind", vec![names(&[uri(b"urn:a")]), names(&[uri(b"urn:b")])]),
        ("a NUL in a name", vec![names(&[uri(b"spiffe://example.org/a\0.evil")])]),
        ("a space in a name", vec![names(&[uri(b"urn:a b")])]),
        ("a name that is not ASCII", vec![names(&[uri("urn:é".as_bytes())])]),
        ("an empty name", vec![names(&[uri(b"")])]),
        ("an unknown kind of name", vec![names(&[element(0x89, &[b"a".to_vec()])])]),
        ("a URI in parts", vec![names(&[element(0xa6, &[element(0x16, &[ID.as_bytes().to_vec()])])])]),
        ("a DNS name in parts", vec![names(&[element(0xa2, &[element(0x16, &[b"a".to_vec()])])])]),
        ("another kind of name without parts", vec![names(&[element(0x80, &[b"a".to_vec()])])]),
        ("a name without a kind", vec![names(&[element(0x16, &[b"urn:a".to_vec()])])]),
        ("something after the names", vec![extension(&[0x55, 0x1d, 0x11], &[element(0x30, &[]), vec![5, 0]].concat())]),
        ("names in a string", vec![extension(&[0x55, 0x1d, 0x11], b"urn:a")]),
        (
            "a truth value of BER",
            vec![element(0x30, &[element(0x06, &[vec![0x2a]]), element(0x01, &[vec![1]]), element(0x04, &[])])],
        ),
        ("an extension without a value", vec![element(0x30, &[element(0x06, &[vec![0x2a]])])]),
        (
            "a truth value in the constraints",
            vec![extension(&[0x55, 0x1d, 0x13], &element(0x30, &[element(0x01, &[vec![1]])]))],
        ),
    ] {
        let der = Certificate { extensions: &extensions, ..Certificate::default() }.der();
        assert_eq!(read(&der), None, "{what}");
    }
}

#[test]
fn rejects_certificates_that_are_cut_extended_or_not_der() {
    let der = agent();
    assert!(read(&der).is_some());
    for length in 0..der.len() {
        assert_eq!(read(&der[..length]), None, "{length}");
    }
    assert_eq!(read(&[&der[..], &[0]].concat()), None);
    // The same length in more bytes than needed.
    let (head, rest) = der.split_at(3);
    assert_eq!(head[..2], [0x30, 0x81]);
    assert_eq!(read(&[&[0x30, 0x82, 0, head[2]], rest].concat()), None);
    // An indefinite length.
    assert_eq!(read(&[&[0x30, 0x80], rest, &[0, 0]].concat()), None);
}

#[test]
fn versions_before_3_have_no_extensions_and_are_rejected() {
    let der = agent();
    let at = der.windows(5).position(|window| window == [0xa0, 3, 2, 1, 2]).unwrap() + 4;
    for version in [0, 1, 3] {
        let mut other = der.clone();
        other[at] = version;
        assert_eq!(read(&other), None, "{version}");
    }
}

#[test]
fn reads_the_end_of_the_validity() {
    let utc = |text: &str| element(0x17, &[text.as_bytes().to_vec()]);
    let general = |text: &str| element(0x18, &[text.as_bytes().to_vec()]);
    let end = |dates: &[Vec<u8>]| {
        let certificate = Certificate { uris: &[ID], dates: Some(dates), ..Certificate::default() }.presented();
        certificate.contents().map(|contents| contents.not_after.as_secs())
    };
    for (date, seconds) in [
        (utc("261121120000Z"), 1_795_262_400),
        (utc("700101000000Z"), 0),
        (general("20500101000000Z"), 2_524_608_000),
        // RFC 5280, section 4.1.2.5: no known end. Later than any time of a request.
        (general("99991231235959Z"), u64::MAX / 1_000_000_000),
    ] {
        assert_eq!(end(&[utc("600101000000Z"), date.clone()]), Some(seconds), "{date:?}");
    }
    let good = utc("261121120000Z");
    for (what, dates) in [
        ("no dates", vec![]),
        ("one date", vec![good.clone()]),
        ("three dates", vec![good.clone(); 3]),
        ("no such day", vec![good.clone(), utc("260230120000Z")]),
        ("no seconds", vec![good.clone(), utc("2611211200Z")]),
        ("another time zone", vec![good.clone(), utc("261121120000+0100")]),
        ("a fraction", vec![good.clone(), general("20261121120000.5Z")]),
        ("text", vec![good.clone(), element(0x0c, &[b"261121120000Z".to_vec()])]),
    ] {
        assert_eq!(end(&dates), None, "{what}");
    }
}

#[test]
fn many_extensions_are_rejected() {
    let with = |count: u8| {
        let extensions: Vec<_> = (0..count).map(|number| extension(&[0x2a, number], &[])).collect();
        read(&Certificate { extensions: &extensions, ..Certificate::default() }.der())
    };
    assert!(with(64).is_some());
    assert_eq!(with(65), None);
}

#[test]
fn the_digest_is_that_of_the_certificate() {
    let der = agent();
    let (text, digest) = (pem(&der), sha256_hex(&der));
    let is_read = |digest: &str| ClientCertificate::new(text.as_bytes(), digest.as_bytes()).contents().is_some();
    assert!(is_read(&digest) && is_read(&digest.to_uppercase()));
    let other = sha256_hex(&Certificate::default().der());
    for wrong in [
        "",
        "0",
        digest.get(1..).unwrap(),
        &format!("{digest}0"),
        &format!("{digest}00"),
        &digest.replace(digest.get(..2).unwrap(), "zz"),
        &other,
    ] {
        assert!(!is_read(wrong), "{wrong}");
    }
    assert!(ClientCertificate::new(text.as_bytes(), digest.as_bytes()).belongs_to(digest.as_bytes()));
    assert!(!ClientCertificate::new(text.as_bytes(), other.as_bytes()).belongs_to(other.as_bytes()));
}

#[test]
fn reads_one_certificate_as_text_or_percent_encoded() {
    let der = agent();
    let (text, digest) = (pem(&der), sha256_hex(&der));
    let is_read = |text: &str| ClientCertificate::new(text.as_bytes(), digest.as_bytes()).contents().is_some();
    let encoded: String = text
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    for good in [text.clone(), text.replace('\n', "\r\n"), text.trim_end().to_owned(), encoded] {
        assert!(is_read(&good), "{good}");
    }
    let body = text.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    for bad in [
        String::new(),
        body.clone(),
        format!("{text}{text}"),
        format!("{text}x"),
        format!("x{text}"),
        text.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        text.replace("CERTIFICATE", "PUBLIC KEY"),
        text.replacen("-----END", "----END", 1),
        text.replace('=', ""),
        text.replace(body.get(..4).unwrap(), "M_I-"),
        format!("{text}{}", "\n".repeat(80 * 1024)),
    ] {
        assert!(!is_read(&bad), "{bad}");
    }
}

#[test]
fn the_first_certificate_of_a_file_is_the_leaf() {
    let (leaf, other) = (agent(), Certificate { is_authority: true, ..Certificate::default() }.der());
    let file = format!("subject=agent\n{}issuer\n{}", pem(&leaf), pem(&other));
    let first = ClientCertificate::first_of(file.as_bytes()).unwrap();
    assert!(first.belongs_to(sha256_hex(&leaf).as_bytes()));
    for none in ["", "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", &pem(b"x")] {
        assert_eq!(ClientCertificate::first_of(none.as_bytes()), None);
    }
}

#[test]
fn large_certificates_are_rejected() {
    let uris: Vec<_> = (0..400).map(|number| format!("urn:example:agent:{number:04}")).collect();
    let with = |count: usize| {
        let uris: Vec<_> = uris[..count].iter().map(String::as_str).collect();
        Certificate { uris: &uris, ..Certificate::default() }.der()
    };
    let large = with(400);
    let names = vec![b'a'; 20 * 1024];
    let huge = Certificate { extensions: &[extension(&[0x2a], &names)], ..Certificate::default() }.der();
    assert!(huge.len() > MOST_CERTIFICATE_BYTES);
    assert_eq!(read(&huge), None);
    assert!(large.len() < MOST_CERTIFICATE_BYTES && read(&large).is_some_and(|names| names.uris.len() == 400));
}

proptest! {
    /// No input traps, and what is read has only visible names.
    #[test]
    fn any_changed_certificate_is_read_or_rejected(at: prop::sample::Index, bytes: Vec<u8>) {
        let mut der = agent();
        let at = at.index(der.len());
        let end = der.len().min(at + bytes.len().min(8));
        drop(der.splice(at..end, bytes.iter().copied().take(8)));
        if let Some(names) = read(&der) {
            prop_assert!(names.uris.iter().chain(&names.dns).all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }
}
