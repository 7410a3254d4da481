use std::cell::RefCell;

use proptest::prelude::*;

use super::super::tests::{MESSAGE, signed};
use super::super::{SoftwareVerifier, TableVerifier};
use super::*;

const GOOD: &[u8] = &[0x08, 0x01];

/// A host that first gives the answers expected at startup, and then those of a test.
struct Script {
    /// `None` for a call that fails.
    answers: RefCell<Vec<Option<Vec<u8>>>>,
    asked: RefCell<Vec<Vec<u8>>>,
    given_up: Cell<usize>,
}

impl HostVerify for &Script {
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.asked.borrow_mut().push(request.to_vec());
        self.answers.borrow_mut().remove(0)
    }

    fn give_up(&self) {
        self.given_up.set(self.given_up.get() + 1);
    }
}

impl Script {
    /// Creates a host that gives exactly these answers.
    fn new(answers: &[Option<&[u8]>]) -> Self {
        let answers = answers.iter().map(|answer| answer.map(<[u8]>::to_vec)).collect();
        Self { answers: RefCell::new(answers), asked: RefCell::default(), given_up: Cell::new(0) }
    }

    /// Creates a host that passes the startup checks first.
    fn proven(answers: &[Option<&[u8]>]) -> Self {
        Self::new(&[&[Some(GOOD), Some(&[])], answers].concat())
    }

    fn verifier(&self) -> HostVerifier<&Self, Refuses> {
        HostVerifier::new(Some(self), Refuses(Cell::new(0)))
    }
}

/// A verifier that rejects every signature and counts its calls.
struct Refuses(Cell<usize>);

impl VerifySignature for Refuses {
    fn verify(&self, _: &VerifyingKey, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        Err(BadSignature)
    }
}

/// Returns each key with each of its signatures.
fn all_signed() -> Vec<(VerifyingKey, Algorithm, Vec<u8>)> {
    let each = |(key, signatures): (VerifyingKey, super::super::tests::Signatures)| {
        signatures.into_iter().map(move |(algorithm, signature)| (key.clone(), algorithm, signature))
    };
    signed().into_iter().flat_map(each).collect()
}

fn es256() -> (VerifyingKey, Vec<u8>) {
    let (key, _, signature) =
        all_signed().into_iter().find(|(_, algorithm, _)| *algorithm == Algorithm::Es256).unwrap();
    (key, signature)
}

/// Malformed answers, and answers with a result other than the two expected ones.
const NO_ANSWERS: [&[u8]; 17] = [
    &[0x08],
    &[0x08, 0x02],
    &[0x08, 0x81, 0x00],
    &[0x08, 0x01, 0x08, 0x01],
    &[0x08, 0x00, 0x08, 0x01],
    &[0x08, 0x01, 0x12, 0x01, b'x'],
    &[0x12, 0x01, b'x', 0x08, 0x01],
    &[0x01],
    b"1",
    b"true",
    &[0x10, 0x01],
    &[0x12],
    &[0x12, 0x02, b'x'],
    &[0x12, 0x00, b'x'],
    &[0x12, 0x80],
    &[0x12, 0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x00, 0x08, 0x01],
];

#[test]
fn parses_host_answers_strictly() {
    assert_eq!(verdict(GOOD), Some(true));
    let long = [&[0x12, 0xac, 0x02][..], &[b'x'; 300]].concat();
    for bad in
        [&[][..], &[0x08, 0x00], &[0x12, 0x00], &[0x12, 0x03, b'w', b'h', b'y'], &[0x08, 0x00, 0x12, 0x01, b'x'], &long]
    {
        assert_eq!(verdict(bad), Some(false), "{bad:?}");
    }
    for none in NO_ANSWERS {
        assert_eq!(verdict(none), None, "{none:?}");
    }
}

#[test]
fn the_host_verifies_the_algorithms_it_supports() {
    for (key, algorithm, signature) in all_signed() {
        let asked = hash(algorithm).is_some();
        for (answer, verdict) in
            [(GOOD, Ok(())), (&[][..], Err(BadSignature)), (&[0x12, 0x01, b'x'], Err(BadSignature))]
        {
            let host = Script::proven(&[Some(answer)]);
            let verifier = host.verifier();
            assert!(verifier.asks());
            let verified = verifier.verify(&key, algorithm, MESSAGE, &signature);
            assert_eq!(verified, if asked { verdict } else { Err(BadSignature) }, "{algorithm:?}");
            assert_eq!(host.asked.borrow().len() - 2, usize::from(asked), "{algorithm:?}");
            assert_eq!(verifier.behind.0.get(), usize::from(!asked), "{algorithm:?}");
            assert_eq!(host.given_up.get(), 0);
        }
    }
}

#[test]
fn disables_a_host_that_also_fails_on_known_signatures() {
    let (key, signature) = es256();
    let verify =
        |verifier: &HostVerifier<&Script, Refuses>| verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature);
    for answer in NO_ANSWERS.map(Some).into_iter().chain([None]) {
        // The answer is repeated, because the host is then asked about the known signatures.
        let host = Script::proven(&[Some(GOOD), answer, answer]);
        let verifier = host.verifier();
        assert_eq!(verify(&verifier), Ok(()));
        for times in 1..4 {
            assert_eq!(verify(&verifier), Err(BadSignature), "{answer:?}");
            assert_eq!((verifier.behind.0.get(), host.asked.borrow().len()), (times, 5));
        }
        assert!(!verifier.asks());
        assert_eq!(host.given_up.get(), 1);
    }
}

/// Otherwise a client with a key that the host cannot read could make every signature expensive.
#[test]
fn keeps_using_a_host_that_fails_on_one_request() {
    let (key, signature) = es256();
    for answer in NO_ANSWERS.map(Some).into_iter().chain([None]) {
        let host = Script::proven(&[answer, Some(GOOD), Some(&[]), Some(GOOD)]);
        let verifier = host.verifier();
        let verify = || verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature);
        assert_eq!((verify(), verifier.behind.0.get()), (Err(BadSignature), 1), "{answer:?}");
        assert_eq!((verify(), verifier.behind.0.get()), (Ok(()), 1), "{answer:?}");
        assert!(verifier.asks() && host.given_up.get() == 0);
    }
}

#[test]
fn does_not_use_a_host_that_fails_the_startup_checks() {
    for known in [
        &[Some(GOOD), Some(GOOD)][..],
        &[Some(&[]), Some(&[])],
        &[Some(&[]), Some(GOOD)],
        &[None],
        &[Some(b"yes")],
        &[Some(GOOD), None],
        &[Some(GOOD), Some(b"no")],
    ] {
        let host = Script::new(known);
        let verifier = host.verifier();
        assert!(!verifier.asks(), "{known:?}");
        assert_eq!(host.given_up.get(), 1, "{known:?}");
        let (key, signature) = es256();
        let asked = host.asked.borrow().len();
        assert_eq!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature), Err(BadSignature));
        assert_eq!((verifier.behind.0.get(), host.asked.borrow().len()), (1, asked), "{known:?}");
    }
    let none = HostVerifier::new(None::<&Script>, Refuses(Cell::new(0)));
    assert!(!none.asks());
}

#[test]
fn startup_checks_use_a_valid_and_an_invalid_signature() {
    let key = VerifyingKey::p256(&KNOWN.x, &KNOWN.y).unwrap();
    let verify = |message: &[u8]| SoftwareVerifier.verify(&key, Algorithm::Es256, message, &KNOWN.signature);
    assert_eq!((verify(b"sample"), verify(b"test")), (Ok(()), Err(BadSignature)));
    let host = Script::proven(&[]);
    assert!(host.verifier().asks());
    let texts: Vec<_> = host.asked.borrow().iter().map(|request| request[request.len() - 6..].to_vec()).collect();
    assert_eq!(texts, [&b"sample"[..], b"\x22\x04test"]);
}

#[test]
fn encodes_requests_as_envoy_expects() {
    let (key, signature) = es256();
    let request = request(&key, Algorithm::Es256, &[b'm'; 300], &signature).unwrap();
    let spki = key.spki_der().unwrap();
    let der = ecdsa_der::<32>(&signature).unwrap();
    let expected = [
        &[0x0a, 6][..],
        b"sha256",
        &[0x12, 91],
        spki,
        &[0x1a, der.len() as u8],
        &der,
        &[0x22, 0xac, 0x02],
        &[b'm'; 300],
    ];
    assert_eq!(request, expected.concat());
}

#[test]
fn encodes_lengths_as_minimal_varints() {
    for (length, written) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 0x01]),
        (300, &[0xac, 0x02]),
    ] {
        let mut bytes = Vec::new();
        push_length(&mut bytes, length);
        assert_eq!(bytes, written, "{length}");
    }
}

#[test]
fn does_not_send_unsupported_keys_or_signatures_to_a_host() {
    let signed = all_signed();
    for (key, algorithm, signature) in &signed {
        for asked in Algorithm::ALL {
            // All signatures of one RSA key have the same length, with either padding.
            let put = request(key, asked, MESSAGE, signature).is_some();
            assert_eq!(put, key.fits(asked) && hash(asked).is_some(), "{key:?} {asked:?}");
        }
        if hash(*algorithm).is_none() {
            continue;
        }
        // A signature of another length is rejected without asking the host.
        for other in [
            &signature[1..],
            &signature[..signature.len() - 1],
            &[signature, &[0][..]].concat(),
            &[&[0], &signature[..]].concat(),
            &[],
        ] {
            assert_eq!(request(key, *algorithm, MESSAGE, other), None, "{algorithm:?}");
        }
    }
}

#[test]
fn rejects_a_zero_r_or_s_when_encoding_der() {
    let (one, zero) = ([1; 32], [0; 32]);
    for signature in [[zero, one], [one, zero], [zero, zero]] {
        assert_eq!(ecdsa_der::<32>(signature.as_flattened()), None);
    }
    let der = |r: u8, s: u8| {
        let mut signature = [0; 64];
        (signature[31], signature[63]) = (r, s);
        ecdsa_der::<32>(&signature).unwrap()
    };
    assert_eq!(der(1, 0x7f), [0x30, 6, 2, 1, 1, 2, 1, 0x7f]);
    assert_eq!(der(0x80, 0xff), [0x30, 8, 2, 2, 0, 0x80, 2, 2, 0, 0xff]);
    let high = [0xff; 96];
    let der = ecdsa_der::<48>(&high).unwrap();
    assert_eq!((der.len(), der[1]), (104, 102));
}

#[test]
fn ed25519_uses_tables_when_a_host_is_present() {
    let (key, algorithm, signature) =
        all_signed().into_iter().find(|(_, algorithm, _)| *algorithm == Algorithm::Ed25519).unwrap();
    let host = Script::proven(&[]);
    let verifier = HostVerifier::new(Some(&host), TableVerifier::new([&key].into_iter(), 1));
    for _ in 0..20 {
        assert_eq!(verifier.verify(&key, algorithm, MESSAGE, &signature), Ok(()));
    }
    assert_eq!(verifier.behind.tables(), 1);
}

proptest! {
    /// Compares with another implementation that reads the same numbers and only accepts minimal DER.
    #[test]
    fn der_encoding_preserves_r_and_s(mut signature in any::<[u8; 32]>().prop_flat_map(|r| any::<[u8; 32]>().prop_map(move |s| [r, s])), zeros in 0..32_usize) {
        signature[0][..zeros].fill(0);
        signature[1][..31 - zeros].fill(0);
        let jose = signature.as_flattened();
        if let Ok(read) = p256::ecdsa::Signature::from_slice(jose) {
            let der = ecdsa_der::<32>(jose).unwrap();
            prop_assert_eq!(p256::ecdsa::Signature::from_der(&der).unwrap(), read);
            let own = read.to_der();
            prop_assert_eq!(own.as_bytes(), &der[..]);
        }
    }
}
