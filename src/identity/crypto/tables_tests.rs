//! Tests that tables give the same verdicts as `verify_strict`, and are built for keys in use.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Digest as _, Sha512, Signer as _, SigningKey};
use proptest::prelude::*;

use super::{Table, TableVerifier, USES_BEFORE_FORGETTING, USES_BEFORE_TABLE, USES_BETWEEN_TABLES, digits, sum};
use crate::identity::crypto::key::Material;
use crate::identity::crypto::{Algorithm, SoftwareVerifier, VerifySignature as _, VerifyingKey};

/// Both ways to verify. They must agree.
pub(in crate::identity::crypto) struct Both {
    key: VerifyingKey,
    tables: TableVerifier,
}

impl Both {
    pub(in crate::identity::crypto) fn new(key: &VerifyingKey) -> Self {
        let tables = TableVerifier::new(std::iter::once(key), 1);
        let Material::Ed25519(point) = &key.material else { panic!("an Ed25519 key") };
        tables.usage.borrow_mut().keys[0].table = Some(Table::new(&-point.to_edwards()));
        Self { key: key.clone(), tables }
    }

    #[track_caller]
    pub(in crate::identity::crypto) fn verdict(&self, message: &[u8], signature: &[u8]) -> bool {
        let strict = SoftwareVerifier.verify(&self.key, Algorithm::Ed25519, message, signature).is_ok();
        let tables = self.tables.verify(&self.key, Algorithm::Ed25519, message, signature).is_ok();
        assert_eq!(tables, strict, "{message:02x?} {signature:02x?}");
        strict
    }
}

fn pair(seed: u8) -> (SigningKey, VerifyingKey) {
    let private = SigningKey::from_bytes(&[seed; 32]);
    let key = VerifyingKey::ed25519(private.verifying_key().as_bytes()).unwrap();
    (private, key)
}

/// Returns the scalar with which the signer of `R` and `message` multiplies the key `a`.
fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(a).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn join(r: [u8; 32], s: &Scalar) -> Vec<u8> {
    [r, s.to_bytes()].concat()
}

proptest! {
    #[test]
    fn tables_agree_with_strict_verification_after_any_change(
        seed: u8,
        message: Vec<u8>,
        at in 0_usize..64,
        bit in 0_u32..8,
        other: [u8; 32],
    ) {
        let (private, key) = pair(seed);
        let both = Both::new(&key);
        let good = private.sign(&message).to_bytes();
        prop_assert!(both.verdict(&message, &good));
        prop_assert!(!both.verdict(&[&message[..], b"."].concat(), &good));
        let mut changed = good;
        changed[at] ^= 1 << bit;
        prop_assert!(!both.verdict(&message, &changed));
        for half in [0..32, 32..64] {
            let mut changed = good;
            changed[half].copy_from_slice(&other);
            both.verdict(&message, &changed);
        }
    }

    #[test]
    fn tables_compute_double_scalar_multiplication(s: [u8; 32], k: [u8; 32], q: [u8; 32]) {
        let [s, k, q] = [s, k, q].map(Scalar::from_bytes_mod_order);
        let q = EdwardsPoint::mul_base(&q) + EIGHT_TORSION[1];
        let tables = sum(&Table::new(&ED25519_BASEPOINT_POINT), &digits(&s), &Table::new(&q), &digits(&k));
        prop_assert_eq!(tables, EdwardsPoint::mul_base(&s) + k * q);
    }
}

#[test]
fn digits_represent_every_scalar() {
    let most = -Scalar::ONE;
    let edges = [Scalar::ZERO, Scalar::ONE, most, Scalar::from(127_u8), Scalar::from(128_u8), Scalar::from(129_u8)];
    let runs = (0..252).map(|bits| (0..bits).fold(Scalar::ZERO, |sum, _| sum + sum + Scalar::ONE));
    for scalar in edges.into_iter().chain(runs) {
        let digits = digits(&scalar);
        assert!(digits.as_flattened().iter().all(|digit| (-127..=128).contains(digit)), "{digits:?}");
        let read = digits.as_flattened().iter().rev().fold(Scalar::ZERO, |sum, digit| {
            let size = Scalar::from(digit.unsigned_abs());
            sum * Scalar::from(256_u16) + if *digit < 0 { -size } else { size }
        });
        assert_eq!(read, scalar);
    }
}

#[test]
fn rejects_malformed_and_malleated_signatures() {
    let (private, key) = pair(1);
    let both = Both::new(&key);
    let good = private.sign(b"m").to_bytes();
    for wrong in [&[][..], &good[..63], &[&good[..], &[0]].concat(), &[0; 64], &[0xff; 64]] {
        assert!(!both.verdict(b"m", wrong));
    }
    // `s` + L also satisfies the equation.
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
    assert!(!both.verdict(b"m", &malleated));
}

#[test]
fn rejects_a_small_order_r_even_if_the_equation_holds() {
    // With a key of mixed order, `s * B - k * A` takes all points of small order while `s = k * a`.
    let private = pair(2).0.to_scalar();
    let mut seen = 0;
    for torsion in EIGHT_TORSION {
        let a = (EdwardsPoint::mul_base(&private) + torsion).compress().to_bytes();
        let both = Both::new(&VerifyingKey::ed25519(&a).unwrap());
        for r in EIGHT_TORSION {
            for message in 0..64_u8 {
                let encoded = r.compress().to_bytes();
                let k = challenge(&encoded, &a, &[message]);
                seen += u32::from(-(k * torsion) == r);
                assert!(!both.verdict(&[message], &join(encoded, &(k * private))));
                // The same point in a non-canonical encoding: `x = 0` with a sign.
                let mut twin = encoded;
                twin[31] ^= 0x80;
                let k = challenge(&twin, &a, &[message]);
                assert!(!both.verdict(&[message], &join(twin, &(k * private))));
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn rejects_non_canonical_encodings_of_r() {
    let (_, key) = pair(3);
    let both = Both::new(&key);
    // All encodings with `y` of p or more, with both signs.
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut r = [0xff; 32];
            (r[0], r[31]) = (low, high);
            for s in [Scalar::ZERO, Scalar::ONE, Scalar::from(7_u8)] {
                assert!(!both.verdict(b"m", &join(r, &s)));
            }
        }
    }
}

#[test]
fn tables_agree_on_keys_and_rs_of_mixed_order() {
    // `R = r * B - j * T` satisfies the equation if `k` is `j` modulo 8, because the equation is checked without the cofactor.
    let private = pair(4).0.to_scalar();
    let nonce = Scalar::from(123_456_789_u64);
    let torsion = EIGHT_TORSION[1];
    let a = (EdwardsPoint::mul_base(&private) + torsion).compress().to_bytes();
    let both = Both::new(&VerifyingKey::ed25519(&a).unwrap());
    let mut good = 0;
    for j in 0..8_u8 {
        let r = (EdwardsPoint::mul_base(&nonce) - Scalar::from(j) * torsion).compress().to_bytes();
        for message in 0..64_u8 {
            let k = challenge(&r, &a, &[message]);
            let fits = k.as_bytes()[0] % 8 == j;
            assert_eq!(both.verdict(&[message], &join(r, &(nonce + k * private))), fits);
            good += u32::from(fits);
        }
    }
    assert!(good > 20, "{good}");
}

/// Verifies `times` good signatures.
fn use_key(verifier: &TableVerifier, (private, key): &(SigningKey, VerifyingKey), times: u32) {
    let signature = private.sign(b"m").to_bytes();
    for _ in 0..times {
        verifier.verify(key, Algorithm::Ed25519, b"m", &signature).unwrap();
    }
}

fn has_table(verifier: &TableVerifier, (_, key): &(SigningKey, VerifyingKey)) -> bool {
    let Material::Ed25519(key) = &key.material else { panic!("an Ed25519 key") };
    let at = verifier.known.get(key.as_bytes());
    at.is_some_and(|at| verifier.usage.borrow().keys[*at].table.is_some())
}

#[test]
fn builds_a_table_after_enough_valid_signatures() {
    let (one, other, stranger) = (pair(1), pair(2), pair(3));
    let secret = VerifyingKey::hmac(&[1; 32]).unwrap();
    let verifier = TableVerifier::new([&one.1, &secret, &other.1, &one.1].into_iter(), 2);
    use_key(&verifier, &one, USES_BEFORE_TABLE - 1);
    assert_eq!(verifier.tables(), 0);
    for _ in 0..100 {
        verifier.verify(&one.1, Algorithm::Ed25519, b"m", &[1; 64]).unwrap_err();
        verifier.verify(&one.1, Algorithm::Es256, b"m", &[1; 64]).unwrap_err();
    }
    assert_eq!(verifier.tables(), 0, "bad signatures count for nothing");
    use_key(&verifier, &one, 1);
    assert!(has_table(&verifier, &one) && !has_table(&verifier, &other));
    use_key(&verifier, &stranger, 100);
    assert_eq!(verifier.tables(), 1, "a key that no policy names has none");
    use_key(&verifier, &other, USES_BEFORE_TABLE);
    assert_eq!(verifier.tables(), 2);
}

#[test]
fn never_builds_two_tables_in_one_request() {
    let (one, other) = (pair(1), pair(2));
    let verifier = TableVerifier::new([&one.1, &other.1].into_iter(), 2);
    use_key(&verifier, &one, USES_BEFORE_TABLE - 1);
    // Both keys qualify for a table with the next signature.
    use_key(&verifier, &other, 1);
    assert_eq!(verifier.tables(), 0);
    verifier.usage.borrow_mut().keys.iter_mut().for_each(|known| known.uses = USES_BEFORE_TABLE);
    use_key(&verifier, &one, 1);
    use_key(&verifier, &other, USES_BETWEEN_TABLES - 1);
    assert_eq!(verifier.tables(), 1);
    use_key(&verifier, &other, 1);
    assert_eq!(verifier.tables(), 2);
}

#[test]
fn keeps_tables_for_the_most_used_keys() {
    let (one, other) = (pair(1), pair(2));
    let verifier = TableVerifier::new([&one.1, &other.1].into_iter(), 1);
    use_key(&verifier, &one, 20);
    use_key(&verifier, &other, 41);
    assert!(has_table(&verifier, &one), "keys that are used alike do not take turns");
    use_key(&verifier, &other, 1);
    assert!(!has_table(&verifier, &one) && has_table(&verifier, &other));
    assert_eq!(verifier.tables(), 1);
    // Old counts are halved.
    verifier.usage.borrow_mut().since_forgetting = USES_BEFORE_FORGETTING - 1;
    use_key(&verifier, &one, 1);
    let uses: Vec<_> = verifier.usage.borrow().keys.iter().map(|known| known.uses).collect();
    assert_eq!(uses, [11, 21]);
}

#[test]
fn builds_no_tables_without_capacity_or_keys() {
    let one = pair(1);
    for verifier in [TableVerifier::new(std::iter::once(&one.1), 0), TableVerifier::new(std::iter::empty(), 9)] {
        use_key(&verifier, &one, 100);
        assert!(verifier.base.is_none() && verifier.tables() == 0);
    }
}

#[test]
fn verifies_without_tables_while_they_are_borrowed() {
    let one = pair(1);
    let verifier = TableVerifier::new(std::iter::once(&one.1), 1);
    use_key(&verifier, &one, 100);
    let _held = verifier.usage.borrow_mut();
    use_key(&verifier, &one, 1);
    assert_eq!(verifier.tables(), 0);
}
