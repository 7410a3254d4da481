use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::identity::crypto::SoftwareVerifier;
use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Private};
use superboring::rsa::{Padding, Rsa};
use superboring::sign::{RsaPssSaltlen, Signer as RsaSigner};

use super::*;

const MESSAGE: &[u8] = b"a message";
const RSA_2048: &str = include_str!("../../src/identity/token/testdata/rsa2048.pem");
/// One bit more than whole bytes.
const RSA_2049: &str = include_str!("testdata/rsa2049.pem");
const RSA_KEYS: [&str; 5] = [
    RSA_2048,
    RSA_2049,
    include_str!("testdata/rsa2052.pem"),
    include_str!("testdata/rsa3072.pem"),
    include_str!("testdata/rsa4096.pem"),
];
const RSA_ALGORITHMS: [Algorithm; 6] =
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512];

/// Verifies in software, and counts what it was asked.
#[derive(Default)]
struct Behind {
    verified: Cell<usize>,
    admitted: Cell<usize>,
    unknown: Cell<usize>,
    known: Cell<usize>,
}

impl VerifySignature for Behind {
    fn verify(&self, key: &VerifyingKey, algorithm: Algorithm, message: &[u8], sig: &[u8]) -> Result<(), BadSignature> {
        self.verified.set(self.verified.get() + 1);
        SoftwareVerifier.verify(key, algorithm, message, sig)
    }

    fn admit(&self, signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        self.admitted.set(self.admitted.get() + signers.len());
        Err(BadSignature)
    }

    fn unknown_key(&self) {
        self.unknown.set(self.unknown.get() + 1);
    }

    fn known_key(&self) -> Result<(), BadSignature> {
        self.known.set(self.known.get() + 1);
        Err(BadSignature)
    }
}

fn native() -> NativeVerifier<Behind> {
    NativeVerifier::new(Behind::default())
}

impl NativeVerifier<Behind> {
    /// Returns the verdict, which must be the same in software, and also after the key was kept.
    fn verdict(&self, key: &VerifyingKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let software = SoftwareVerifier.verify(key, algorithm, message, signature);
        for _ in 0..2 {
            let native = self.verify(key, algorithm, message, signature);
            assert_eq!(native, software, "{key:?} {algorithm:?} {signature:02x?}");
        }
        software.is_ok()
    }

    fn kept(&self) -> usize {
        let keys = self.keys.borrow();
        keys.young.len() + keys.old.len()
    }
}

fn p256_pair() -> (p256::ecdsa::SigningKey, VerifyingKey) {
    let private = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = private.verifying_key().to_sec1_point(false);
    let point = point.as_bytes();
    let key = VerifyingKey::p256(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap()).unwrap();
    (private, key)
}

fn p384_pair() -> (p384::ecdsa::SigningKey, VerifyingKey) {
    let private = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let point = private.verifying_key().to_sec1_point(false);
    let point = point.as_bytes();
    let key = VerifyingKey::p384(point[1..49].try_into().unwrap(), point[49..].try_into().unwrap()).unwrap();
    (private, key)
}

fn rsa_pair(pem: &str) -> (PKey<Private>, VerifyingKey) {
    let private = Rsa::<Private>::private_key_from_pem(pem.as_bytes()).unwrap();
    let key = VerifyingKey::rsa(&private.n().to_vec(), &private.e().to_vec()).unwrap();
    (PKey::from_rsa(private).unwrap(), key)
}

fn rsa_sign(key: &PKey<Private>, algorithm: Algorithm, salt: RsaPssSaltlen) -> Vec<u8> {
    let (padding, hash) = match algorithm {
        Algorithm::Rs256 => (Padding::PKCS1, MessageDigest::sha256()),
        Algorithm::Rs384 => (Padding::PKCS1, MessageDigest::sha384()),
        Algorithm::Rs512 => (Padding::PKCS1, MessageDigest::sha512()),
        Algorithm::Ps256 => (Padding::PKCS1_PSS, MessageDigest::sha256()),
        Algorithm::Ps384 => (Padding::PKCS1_PSS, MessageDigest::sha384()),
        _ => (Padding::PKCS1_PSS, MessageDigest::sha512()),
    };
    let mut signer = RsaSigner::new(hash, key).unwrap();
    signer.set_rsa_padding(padding).unwrap();
    signer.set_rsa_pss_saltlen(salt).unwrap();
    signer.update(MESSAGE).unwrap();
    signer.sign_to_vec().unwrap()
}

/// Returns a signature of each algorithm, with keys of each size.
fn signed() -> Vec<(VerifyingKey, Algorithm, Vec<u8>)> {
    let (private, key) = p256_pair();
    let signature: p256::ecdsa::Signature = private.sign(MESSAGE);
    let mut signed = vec![(key, Algorithm::Es256, signature.to_bytes().to_vec())];
    let (private, key) = p384_pair();
    let signature: p384::ecdsa::Signature = private.sign(MESSAGE);
    signed.push((key, Algorithm::Es384, signature.to_bytes().to_vec()));
    let private = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let key = VerifyingKey::ed25519(private.verifying_key().as_bytes()).unwrap();
    signed.push((key, Algorithm::Ed25519, private.sign(MESSAGE).to_bytes().to_vec()));
    let tag = hmac_sha256::HMAC::mac(MESSAGE, [5; 32]).to_vec();
    signed.push((VerifyingKey::hmac(&[5; 32]).unwrap(), Algorithm::Hs256, tag));
    for pem in RSA_KEYS {
        let (private, key) = rsa_pair(pem);
        for algorithm in RSA_ALGORITHMS {
            signed.push((key.clone(), algorithm, rsa_sign(&private, algorithm, RsaPssSaltlen::DIGEST_LENGTH)));
        }
    }
    signed
}

/// Adds big-endian numbers of the same length. Returns `None` if the sum is longer.
fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut sum = vec![0; a.len()];
    let mut carry = 0;
    for at in (0..a.len()).rev() {
        carry += u16::from(a[at]) + u16::from(b[at]);
        sum[at] = carry as u8;
        carry >>= 8;
    }
    (carry == 0).then_some(sum)
}

#[test]
fn signatures_verify_only_with_their_key_and_algorithm() {
    let native = native();
    let signed = signed();
    for (signer, algorithm, signature) in &signed {
        for (key, _, _) in &signed {
            for asked in Algorithm::ALL {
                let right = key.is_same_as(signer) && asked == *algorithm;
                assert_eq!(native.verdict(key, asked, MESSAGE, signature), right, "{signer:?} {algorithm:?} {asked:?}");
            }
        }
        assert!(!native.verdict(signer, *algorithm, b"a massage", signature));
    }
}

#[test]
fn the_library_verifies_ecdsa_and_rsa() {
    for (key, algorithm, signature) in signed() {
        let native = native();
        assert_eq!(native.verify(&key, algorithm, MESSAGE, &signature), Ok(()));
        assert_eq!(native.verify(&key, algorithm, b"a massage", &signature), Err(BadSignature));
        let is_pss = matches!(algorithm, Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512);
        let is_behind =
            matches!(algorithm, Algorithm::Ed25519 | Algorithm::Hs256) || (is_pss && key.rsa_bits() == Some(2049));
        assert_eq!(native.behind.verified.get(), if is_behind { 2 } else { 0 }, "{key:?} {algorithm:?}");
        let is_kept = key.rsa_bits().is_some() && !is_behind;
        assert_eq!(native.kept(), usize::from(is_kept), "{key:?} {algorithm:?}");
    }
}

#[test]
fn requires_the_exact_length() {
    let native = native();
    for (key, algorithm, signature) in signed() {
        assert!(native.verdict(&key, algorithm, MESSAGE, &signature));
        for other in [
            &signature[1..],
            &signature[..signature.len() - 1],
            &[&signature[..], &[0]].concat(),
            &[&[0], &signature[..]].concat(),
            &signature.repeat(2),
            &vec![0; signature.len()],
            &vec![0xff; signature.len()],
            &[],
        ] {
            assert!(!native.verdict(&key, algorithm, MESSAGE, other), "{algorithm:?} {}", other.len());
        }
    }
}

#[test]
fn reads_ecdsa_numbers_like_the_engine() {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let native = native();
    let (private, key) = p256_pair();
    let signature: p256::ecdsa::Signature = private.sign(MESSAGE);
    let (r, s) = signature.split_bytes();
    let (r, s): ([u8; 32], [u8; 32]) = (r.into(), s.into());
    let verdict = |r: [u8; 32], s: [u8; 32]| native.verdict(&key, Algorithm::Es256, MESSAGE, &[r, s].concat());
    assert!(verdict(r, s));
    // The other `s` of the same signature is valid, and both are in range.
    let twin: [u8; 32] = (-*signature.s()).to_bytes().into();
    assert!(twin != s && verdict(r, twin));
    for (r, s) in
        [([0; 32], s), (r, [0; 32]), ([0; 32], [0; 32]), (N, s), (r, N), (N, N), ([0xff; 32], s), (r, [0xff; 32])]
    {
        assert!(!verdict(r, s), "{r:02x?} {s:02x?}");
    }
    assert!(!native.verdict(&key, Algorithm::Es256, MESSAGE, signature.to_der().as_bytes()));
    assert_eq!(native.behind.verified.get(), 0);
}

#[test]
fn requires_rsa_signatures_below_the_modulus() {
    let native = native();
    let mut sums = 0;
    for pem in RSA_KEYS {
        let (private, key) = rsa_pair(pem);
        let PKey::Rsa(numbers) = &private else { unreachable!("an RSA key") };
        let n = numbers.n().to_vec();
        for algorithm in RSA_ALGORITHMS {
            let signature = rsa_sign(&private, algorithm, RsaPssSaltlen::DIGEST_LENGTH);
            assert!(native.verdict(&key, algorithm, MESSAGE, &signature));
            if let Some(sum) = sum(&signature, &n) {
                sums += 1;
                assert!(!native.verdict(&key, algorithm, MESSAGE, &sum), "{algorithm:?}");
            }
            assert!(!native.verdict(&key, algorithm, MESSAGE, &n));
        }
    }
    assert!(sums > 0);
}

#[test]
fn requires_pss_salts_as_long_as_the_hash() {
    let native = native();
    for pem in RSA_KEYS {
        let (private, key) = rsa_pair(pem);
        for (algorithm, length) in [(Algorithm::Ps256, 32), (Algorithm::Ps384, 48), (Algorithm::Ps512, 64)] {
            for salt in [0, 20, length - 1, length, length + 1, 100] {
                let signature = rsa_sign(&private, algorithm, RsaPssSaltlen::custom(salt));
                assert_eq!(
                    native.verdict(&key, algorithm, MESSAGE, &signature),
                    salt == length,
                    "{algorithm:?} {salt}"
                );
            }
        }
    }
}

/// Made with the private key: the encoded message has one byte less than the modulus, and the byte before it is 1. The engine ignores
/// that byte.
#[test]
fn follows_the_engine_where_pss_of_the_library_differs() {
    let signature = STANDARD.decode(include_str!("testdata/rsa2049_ps256.base64").trim_end()).unwrap();
    let (_, key) = rsa_pair(RSA_2049);
    assert!(native().verdict(&key, Algorithm::Ps256, MESSAGE, &signature));
    let library = library_algorithm(Algorithm::Ps256).unwrap();
    let parsed = ParsedPublicKey::new(library, key.spki_der().unwrap()).unwrap();
    assert_eq!(verify(&parsed, MESSAGE, &signature), Err(BadSignature));
}

#[test]
fn keeps_a_bounded_number_of_keys() {
    let (private, key) = rsa_pair(RSA_2048);
    let signature = rsa_sign(&private, Algorithm::Rs256, RsaPssSaltlen::DIGEST_LENGTH);
    let native = native();
    let known = key.spki_der().unwrap();
    assert!(native.verdict(&key, Algorithm::Rs256, MESSAGE, &signature));
    let parsed = || Kept {
        algorithm: Algorithm::Rs256,
        parsed: ParsedPublicKey::new(library_algorithm(Algorithm::Rs256).unwrap(), known).unwrap(),
    };
    for other in 0..2_000_u32 {
        native.keys.borrow_mut().keep(Box::new(other.to_be_bytes()), parsed());
        assert!(native.kept() <= 2 * KEYS_PER_GENERATION);
        // A key that is used now and then stays.
        if other % 100 == 0 {
            let kept = native.keys.borrow_mut().verify(known, Algorithm::Rs256, MESSAGE, &signature);
            assert_eq!(kept, Some(Ok(())), "{other}");
        }
    }
    assert!(native.kept() > KEYS_PER_GENERATION);
    let mut keys = native.keys.borrow_mut();
    for other in 2_000..2_000 + 2 * KEYS_PER_GENERATION as u32 {
        keys.keep(Box::new(other.to_be_bytes()), parsed());
    }
    assert_eq!(keys.verify(known, Algorithm::Rs256, MESSAGE, &signature), None);
}

#[test]
fn bad_signatures_and_ecdsa_keys_are_not_kept() {
    let native = native();
    for (key, algorithm, signature) in signed() {
        assert!(!native.verdict(&key, algorithm, b"a massage", &signature));
    }
    let (private, key) = p256_pair();
    let signature: p256::ecdsa::Signature = private.sign(MESSAGE);
    assert!(native.verdict(&key, Algorithm::Es256, MESSAGE, &signature.to_bytes()));
    assert_eq!(native.kept(), 0);
}

#[test]
fn one_key_verifies_several_algorithms() {
    let native = native();
    let (private, key) = rsa_pair(RSA_2048);
    for _ in 0..2 {
        for algorithm in RSA_ALGORITHMS {
            let signature = rsa_sign(&private, algorithm, RsaPssSaltlen::DIGEST_LENGTH);
            for asked in RSA_ALGORITHMS {
                assert_eq!(native.verdict(&key, asked, MESSAGE, &signature), asked == algorithm);
            }
        }
    }
    assert_eq!((native.kept(), native.behind.verified.get()), (1, 0));
}

#[test]
fn limits_are_those_of_the_verifier_behind() {
    let native = native();
    assert_eq!(native.admit(&[Signer::Key("a"), Signer::Key("b")]), Err(BadSignature));
    assert_eq!(native.known_key(), Err(BadSignature));
    native.unknown_key();
    let Behind { admitted, unknown, known, .. } = &native.behind;
    assert_eq!((admitted.get(), unknown.get(), known.get()), (2, 1, 1));
}

/// Changes to a signature: bits that are inverted, bytes that are replaced, bytes that are removed or added at the end.
fn changes() -> impl Strategy<Value = Vec<(u8, usize, u8)>> {
    prop::collection::vec((0..4_u8, any::<usize>(), any::<u8>()), 1..4)
}

fn change(signature: &mut Vec<u8>, changes: &[(u8, usize, u8)]) {
    for &(kind, at, byte) in changes {
        let length = signature.len().max(1);
        match (kind, signature.get_mut(at % length)) {
            (0, Some(there)) => *there ^= 1 << (byte % 8),
            (1, Some(there)) => *there = byte,
            (2, _) => drop(signature.pop()),
            _ => signature.push(byte),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn verdicts_on_changed_signatures_are_those_of_the_engine(
        which in any::<prop::sample::Index>(),
        asked in prop::sample::select(&Algorithm::ALL[..]),
        is_asked in prop::bool::weighted(0.2),
        changes in changes(),
    ) {
        thread_local! {
            static SIGNED: Vec<(VerifyingKey, Algorithm, Vec<u8>)> = signed();
            static NATIVE: NativeVerifier<Behind> = native();
        }
        SIGNED.with(|signed| NATIVE.with(|native| {
            let (key, algorithm, signature) = which.get(signed);
            let mut signature = signature.clone();
            native.verdict(key, *algorithm, MESSAGE, &signature);
            change(&mut signature, &changes);
            native.verdict(key, if is_asked { asked } else { *algorithm }, MESSAGE, &signature);
        }));
    }

    /// Random numbers: most are in range, and none is a signature.
    #[test]
    fn verdicts_on_random_ecdsa_signatures_are_those_of_the_engine(
        bytes in prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..=130),
        message in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let native = native();
        for (key, algorithm) in [(p256_pair().1, Algorithm::Es256), (p384_pair().1, Algorithm::Es384)] {
            native.verdict(&key, algorithm, &message, &bytes);
            let length = if algorithm == Algorithm::Es256 { 64 } else { 96 };
            let mut exact = bytes.clone();
            exact.resize(length, 1);
            native.verdict(&key, algorithm, &message, &exact);
        }
    }
}
