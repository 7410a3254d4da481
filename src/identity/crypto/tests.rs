#![expect(clippy::string_slice, reason = "the texts that tests cut are ASCII")]

use p256::ecdsa::signature::Signer as _;
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Private};
use superboring::rsa::{Padding, Rsa};
use superboring::sign::{RsaPssSaltlen, Signer};

use super::*;

pub(super) const MESSAGE: &[u8] = b"a message";
const RSA: &str = include_str!("../token/testdata/rsa2048.pem");

fn verifies(key: &VerifyingKey, algorithm: Algorithm, signature: &[u8]) -> bool {
    SoftwareVerifier.verify(key, algorithm, MESSAGE, signature).is_ok()
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

fn rsa_pair() -> (PKey<Private>, VerifyingKey) {
    let private = Rsa::<Private>::private_key_from_pem(RSA.as_bytes()).unwrap();
    let key = VerifyingKey::rsa(&private.n().to_vec(), &private.e().to_vec()).unwrap();
    (PKey::from_rsa(private).unwrap(), key)
}

fn rsa_sign(key: &PKey<Private>, padding: Padding, hash: MessageDigest, salt: RsaPssSaltlen) -> Vec<u8> {
    let mut signer = Signer::new(hash, key).unwrap();
    signer.set_rsa_padding(padding).unwrap();
    signer.set_rsa_pss_saltlen(salt).unwrap();
    signer.update(MESSAGE).unwrap();
    signer.sign_to_vec().unwrap()
}

fn ed25519_pair() -> (ed25519_dalek::SigningKey, VerifyingKey) {
    let private = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let key = VerifyingKey::ed25519(private.verifying_key().as_bytes()).unwrap();
    (private, key)
}

pub(super) type Signatures = Vec<(Algorithm, Vec<u8>)>;

/// Returns one key of each type with its signatures.
pub(super) fn signed() -> Vec<(VerifyingKey, Signatures)> {
    let (p256, p256_key) = p256_pair();
    let p256: p256::ecdsa::Signature = p256.sign(MESSAGE);
    let (p384, p384_key) = p384_pair();
    let p384: p384::ecdsa::Signature = p384.sign(MESSAGE);
    let (ed25519, ed25519_key) = ed25519_pair();
    let (rsa, rsa_key) = rsa_pair();
    let rsa = [
        (Algorithm::Rs256, Padding::PKCS1, MessageDigest::sha256()),
        (Algorithm::Rs384, Padding::PKCS1, MessageDigest::sha384()),
        (Algorithm::Rs512, Padding::PKCS1, MessageDigest::sha512()),
        (Algorithm::Ps256, Padding::PKCS1_PSS, MessageDigest::sha256()),
        (Algorithm::Ps384, Padding::PKCS1_PSS, MessageDigest::sha384()),
        (Algorithm::Ps512, Padding::PKCS1_PSS, MessageDigest::sha512()),
    ]
    .map(|(algorithm, padding, hash)| (algorithm, rsa_sign(&rsa, padding, hash, RsaPssSaltlen::DIGEST_LENGTH)));
    vec![
        (p256_key, vec![(Algorithm::Es256, p256.to_bytes().to_vec())]),
        (p384_key, vec![(Algorithm::Es384, p384.to_bytes().to_vec())]),
        (ed25519_key, vec![(Algorithm::Ed25519, ed25519.sign(MESSAGE).to_bytes().to_vec())]),
        (
            VerifyingKey::hmac(&[5; 32]).unwrap(),
            vec![(Algorithm::Hs256, hmac_sha256::HMAC::mac(MESSAGE, [5; 32]).to_vec())],
        ),
        (rsa_key, rsa.to_vec()),
    ]
}

/// Returns one public key of each type.
pub(super) fn public_keys() -> Vec<VerifyingKey> {
    signed().into_iter().map(|(key, _)| key).filter(|key| key.spki_der().is_some()).collect()
}

#[test]
fn signatures_verify_only_with_their_key_and_algorithm() {
    let signed = signed();
    for (signer, signatures) in &signed {
        for (algorithm, signature) in signatures {
            for (key, theirs) in &signed {
                for asked in Algorithm::ALL {
                    let right = std::ptr::eq(signatures, theirs) && asked == *algorithm;
                    assert_eq!(verifies(key, asked, signature), right, "{signer:?} {algorithm:?}: {key:?} {asked:?}");
                    assert_eq!(key.fits(asked), theirs.iter().any(|(fits, _)| *fits == asked));
                }
            }
        }
    }
}

#[test]
fn rejects_any_altered_signature() {
    for (key, signatures) in signed() {
        for (algorithm, signature) in signatures {
            let mut changed = vec![Vec::new(), [&signature[..], &[0]].concat(), [&[0], &signature[..]].concat()];
            changed.extend((0..signature.len()).step_by(7).map(|at| {
                let mut bytes = signature.clone();
                bytes[at] ^= 1;
                bytes
            }));
            changed.push(signature[1..].to_vec());
            changed.push(signature[..signature.len() - 1].to_vec());
            changed.push(vec![0; signature.len()]);
            changed.push(vec![0xff; signature.len()]);
            for bytes in changed {
                assert!(!verifies(&key, algorithm, &bytes), "{algorithm:?} {}", bytes.len());
            }
            assert!(SoftwareVerifier.verify(&key, algorithm, b"a massage", &signature).is_err());
        }
    }
}

#[test]
fn rejects_der_and_zero_values_in_ecdsa_signatures() {
    let (private, key) = p256_pair();
    let signature: p256::ecdsa::Signature = private.sign(MESSAGE);
    assert!(!verifies(&key, Algorithm::Es256, signature.to_der().as_bytes()));
    let (r, s) = signature.split_bytes();
    for (r, s) in [([0; 32].into(), s), (r, [0; 32].into()), ([0; 32].into(), [0; 32].into())] {
        let bytes: Vec<u8> = [r, s].concat();
        assert!(!verifies(&key, Algorithm::Es256, &bytes));
    }
    // The signature with the other `s` is also valid (RFC 7518 does not require low `s`), so the bytes of a signature identify nothing.
    let twin = p256::ecdsa::Signature::from_scalars(r, (-*signature.s()).to_bytes()).unwrap();
    assert_ne!(twin, signature);
    assert!(verifies(&key, Algorithm::Es256, &twin.to_bytes()));
}

#[test]
fn requires_pss_salts_as_long_as_the_hash() {
    let (private, key) = rsa_pair();
    for (algorithm, hash, length) in
        [(Algorithm::Ps256, MessageDigest::sha256(), 32), (Algorithm::Ps512, MessageDigest::sha512(), 64)]
    {
        for salt in [0, 20, length - 1, length, length + 1] {
            let signature = rsa_sign(&private, Padding::PKCS1_PSS, hash.clone(), RsaPssSaltlen::custom(salt));
            assert_eq!(verifies(&key, algorithm, &signature), salt == length, "{algorithm:?} {salt}");
        }
    }
}

#[test]
fn rejects_weak_and_non_canonical_ed25519_keys() {
    // The eight points of small order, and encodings with `y` of p or more (Chalkias, Garillot, Nikolaenko: "Taming the many EdDSAs",
    // table 1).
    let point = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let order_8 = |text: &str| -> [u8; 32] {
        let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    let weak = [
        point(1, 0, 0),
        point(1, 0, 0x80),
        point(0, 0, 0),
        point(0, 0, 0x80),
        point(0xec, 0xff, 0x7f),
        point(0xec, 0xff, 0xff),
        point(0xed, 0xff, 0x7f),
        point(0xed, 0xff, 0xff),
        point(0xee, 0xff, 0x7f),
        point(0xee, 0xff, 0xff),
        order_8("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        order_8("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        order_8("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        order_8("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    ];
    for bytes in weak {
        assert_eq!(VerifyingKey::ed25519(&bytes).unwrap_err(), KeyError::Point, "{bytes:02x?}");
    }
    // `y` = p + 3 encodes the point with `y` = 3, which does not have a small order.
    VerifyingKey::ed25519(&point(3, 0, 0)).unwrap();
    assert_eq!(VerifyingKey::ed25519(&point(0xf0, 0xff, 0x7f)).unwrap_err(), KeyError::Point);
}

#[test]
fn verifies_ed25519_strictly() {
    let (private, key) = ed25519_pair();
    let good = private.sign(MESSAGE).to_bytes();
    // s + L, which a verifier that reduces s would accept.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleated = good;
    let mut carry = 0;
    for (byte, add) in malleated[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(verifies(&key, Algorithm::Ed25519, &good));
    assert!(!verifies(&key, Algorithm::Ed25519, &malleated));
    // R of small order, with s = 0.
    let mut small = [0; 64];
    small[0] = 1;
    assert!(!verifies(&key, Algorithm::Ed25519, &small));
}

#[test]
fn rejects_invalid_points_and_weak_rsa_and_hmac_keys() {
    assert_eq!(VerifyingKey::p256(&[1; 32], &[1; 32]).unwrap_err(), KeyError::Point);
    assert_eq!(VerifyingKey::p256(&[0; 32], &[0; 32]).unwrap_err(), KeyError::Point);
    assert_eq!(VerifyingKey::p256(&[0xff; 32], &[0xff; 32]).unwrap_err(), KeyError::Point);
    assert_eq!(VerifyingKey::p384(&[1; 48], &[1; 48]).unwrap_err(), KeyError::Point);
    let modulus = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] = 0xff >> ((8 - bits % 8) % 8);
        n
    };
    let e = [1, 0, 1];
    for (bits, result) in [
        (512, Some(KeyError::RsaShort)),
        (2047, Some(KeyError::RsaShort)),
        (2048, None),
        (4096, None),
        (4097, Some(KeyError::RsaLong)),
        (16384, Some(KeyError::RsaLong)),
    ] {
        assert_eq!(VerifyingKey::rsa(&modulus(bits), &e).err(), result, "{bits}");
    }
    // Leading zeros do not make a modulus longer.
    let padded = [vec![0; 200], modulus(1024)].concat();
    assert_eq!(VerifyingKey::rsa(&padded, &e).unwrap_err(), KeyError::RsaShort);
    assert_eq!(VerifyingKey::rsa(&[], &[]).unwrap_err(), KeyError::RsaShort);
    for e in [&[][..], &[0], &[1], &[2], &[3], &[1, 0, 0], &[1, 0, 1, 0, 1, 0, 1, 0, 1]] {
        assert_eq!(VerifyingKey::rsa(&modulus(2048), e).unwrap_err(), KeyError::RsaValues, "{e:?}");
    }
    let mut even = modulus(2048);
    even[255] = 0xfe;
    assert_eq!(VerifyingKey::rsa(&even, &e).unwrap_err(), KeyError::RsaValues);
    assert_eq!(VerifyingKey::hmac(&[1; 31]).unwrap_err(), KeyError::SecretShort);
    VerifyingKey::hmac(&[1; 32]).unwrap();
}

#[test]
fn only_rsa_keys_have_a_modulus() {
    for (key, _) in signed() {
        assert_eq!(key.rsa_bits(), key.fits(Algorithm::Rs256).then_some(2048), "{key:?}");
    }
    for bits in [2049, 2055, 3072, 4096] {
        let mut n = vec![0xff; usize::div_ceil(bits, 8)];
        n[0] = 0xff >> ((8 - bits % 8) % 8);
        // Leading zeros are not part of the number.
        for n in [[&[0, 0], &n[..]].concat(), n] {
            let key = VerifyingKey::rsa(&n, &[1, 0, 1]).unwrap();
            assert_eq!(key.rsa_bits(), u32::try_from(bits).ok());
        }
    }
}

#[test]
fn keys_have_distinct_identities_and_hide_their_bytes() {
    let keys: Vec<_> = signed().into_iter().map(|(key, _)| key).collect();
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            assert_eq!(a.identity() == b.identity(), i == j);
        }
        assert_eq!(a.spki_der().is_none(), a.fits(Algorithm::Hs256));
    }
    let secret = |bytes: &[u8]| VerifyingKey::hmac(bytes).unwrap().identity();
    assert!(secret(&[5; 33]) != secret(&[5; 32]));
    assert_eq!(
        format!("{:?}", VerifyingKey::hmac(b"correct horse battery staple 1234").unwrap()),
        "VerifyingKey(HMAC)"
    );
}

#[test]
fn other_libraries_read_the_spki() {
    use ed25519_dalek::pkcs8::DecodePublicKey as _;
    let (private, key) = p256_pair();
    let read = p256::ecdsa::VerifyingKey::from_public_key_der(key.spki_der().unwrap()).unwrap();
    assert_eq!(&read, private.verifying_key());
    let (private, key) = ed25519_pair();
    let read = ed25519_dalek::VerifyingKey::from_public_key_der(key.spki_der().unwrap()).unwrap();
    assert_eq!(read, private.verifying_key());
    let (private, key) = rsa_pair();
    let read = Rsa::<superboring::pkey::Public>::public_key_from_der(key.spki_der().unwrap()).unwrap();
    let PKey::Rsa(private) = private else { panic!("an RSA key") };
    assert_eq!(read.n().to_vec(), private.n().to_vec());
}
