//! The fingerprint of RSA keys that can be factored because of the way their primes were generated (ROCA, CVE-2017-15361).
//!
//! A library in many smart cards and TPMs generated primes as `k · M + (65537^a mod M)`, where `M` is the product of the first primes:
//! all up to 167 for every key length, and more for longer keys. The modulus of such a key is a power of 65537 modulo `M`. Fewer than one
//! in 2^150 other moduli have this property (Nemec, Sys, Svenda, Klinec, Matyas: "The Return of Coppersmith's Attack", CCS 2017, section
//! 2.2).
//!
//! This check tests the modulus against each small prime separately and then compares the exponents, which needs no big-number
//! arithmetic. The primes for which 65537 has few powers come first. The first prime rules out fifteen of sixteen other moduli, so the
//! check is cheap.

/// The primes up to 167, ordered by how few of their residues are powers of 65537. 2 is missing because every odd number is a power of
/// 65537 modulo 2.
const PRIMES: [u16; 38] = [
    97, 37, 79, 11, 61, 73, 127, 151, 13, 17, 19, 53, 71, 103, 107, 109, 157, 3, 5, 7, 23, 29, 31, 41, 43, 47, 59, 67,
    83, 89, 101, 113, 131, 137, 139, 149, 163, 167,
];

const GENERATOR: u32 = 65537;

/// Returns whether a modulus, big-endian, has the structure.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    let mut logarithms: Vec<Logarithm> = Vec::new();
    for prime in PRIMES.map(u32::from) {
        let residue = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let Some(logarithm) = Logarithm::of(residue, prime) else { return false };
        // One exponent for all primes exists if and only if each two agree (the Chinese remainder theorem).
        if !logarithms.iter().all(|other| other.agrees_with(logarithm)) {
            return false;
        }
        logarithms.push(logarithm);
    }
    true
}

/// The exponents `value + n · order`: 65537 raised to each of them is the residue.
#[derive(Clone, Copy)]
struct Logarithm {
    value: u32,
    order: u32,
}

impl Logarithm {
    fn of(residue: u32, prime: u32) -> Option<Self> {
        let (mut power, mut exponent, mut value) = (1, 0, None);
        loop {
            if power == residue {
                value = Some(exponent);
            }
            power = power * (GENERATOR % prime) % prime;
            exponent += 1;
            // 65537 is a prime and larger than these primes, so its powers return to 1.
            if power == 1 {
                return value.map(|value| Self { value, order: exponent });
            }
        }
    }

    fn agrees_with(self, other: Self) -> bool {
        self.value.abs_diff(other.value).is_multiple_of(greatest_common_divisor(self.order, other.order))
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::identity::crypto::{KeyError, VerifyingKey};

    const E: [u8; 3] = [1, 0, 1];

    fn roca() -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(crate::identity::token::testing::ROCA_MODULUS).unwrap()
    }

    #[test]
    fn rejects_a_key_with_the_roca_structure() {
        assert!(has_fingerprint(&roca()));
        assert_eq!(VerifyingKey::rsa(&roca(), &E).unwrap_err(), KeyError::RsaRoca);
    }

    #[test]
    fn detects_the_structure_despite_leading_zeros() {
        let padded = [vec![0; 3], roca()].concat();
        assert_eq!(VerifyingKey::rsa(&padded, &E).unwrap_err(), KeyError::RsaRoca);
    }

    #[test]
    fn accepts_a_modulus_next_to_one_with_the_structure() {
        for step in [2, 4, 6, 8, 16, 32] {
            let mut next = roca();
            let last = next.last_mut().unwrap();
            *last = last.wrapping_add(step);
            assert!(!has_fingerprint(&next), "{step}");
        }
    }

    /// It is not enough that the residue is a power of 65537 for each prime separately: the exponent must be the same.
    #[test]
    fn accepts_powers_whose_exponents_differ() {
        // The values are 65537^1 modulo 97 and 65537^2 modulo 37. Both orders are multiples of 3.
        let (one, two) =
            (Logarithm::of(65537 % 97, 97).unwrap(), Logarithm::of(65537 % 37 * (65537 % 37) % 37, 37).unwrap());
        assert_eq!((one.value, two.value), (1, 2));
        assert!(!one.agrees_with(two));
        assert!(one.agrees_with(Logarithm::of(65537 % 37, 37).unwrap()));
    }

    #[test]
    fn accepts_ordinary_keys() {
        // The moduli are the one in RFC 7638, section 3.1, and numbers without any structure.
        let published = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
                         FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgn\
                         Yb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqb\
                         w0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let published = URL_SAFE_NO_PAD.decode(published).unwrap();
        assert!(!has_fingerprint(&published));
        VerifyingKey::rsa(&published, &E).unwrap();
        for seed in 0..200_u8 {
            let modulus: Vec<u8> = (0..8_u8).flat_map(|part| crate::identity::crypto::sha256(&[seed, part])).collect();
            assert!(!has_fingerprint(&modulus), "{seed}");
        }
    }
}
