//! Ed25519 with precomputed tables for the keys that a policy names. With tables, verifying a signature needs only additions
//! and eight doublings.
//!
//! The verdicts are always those of [`SoftwareVerifier`].

use std::cell::RefCell;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Digest as _, Sha512, Signature};

use super::key::Material;
use super::{Algorithm, BadSignature, SoftwareVerifier, VerifySignature, VerifyingKey};
use crate::text::hash::PolicyMap;

/// The number of good signatures after which a key may get a table. Building a table costs about as much as it saves over this many
/// signatures.
const USES_BEFORE_TABLE: u32 = 16;
/// The minimum number of good signatures between two tables. A single request has fewer signatures, so no request waits for two tables.
const USES_BETWEEN_TABLES: u32 = 8;
/// The number of good signatures after which all counts are halved, so keys in use now win over keys used in the past.
const USES_BEFORE_FORGETTING: u32 = 1 << 16;

/// Verifies in software, and uses tables for Ed25519 signatures by keys of the policy.
///
/// Keys that come with requests never get a table. Otherwise senders would choose which tables are built.
pub struct TableVerifier {
    /// The table of the base point, which every verification uses. `None` if no key can have a table.
    base: Option<Table>,
    /// Maps the encoding of a key to its index in `Usage::keys`.
    known: PolicyMap<[u8; 32], usize>,
    usage: RefCell<Usage>,
}

struct Usage {
    keys: Vec<Known>,
    /// The number of tables that may still be added.
    room: u32,
    /// The number of good signatures since the last table was built, and since all counts were halved.
    since_table: u32,
    since_forgetting: u32,
}

#[derive(Default)]
struct Known {
    /// The number of good signatures, halved periodically.
    uses: u32,
    table: Option<Table>,
}

impl TableVerifier {
    /// Returns a verifier that keeps at most `tables` tables, for the most used of these keys.
    pub fn new<'k>(keys: impl Iterator<Item = &'k VerifyingKey>, tables: u32) -> Self {
        let mut known = PolicyMap::default();
        if tables > 0 {
            for key in keys {
                if let Material::Ed25519(key) = &key.material {
                    let next = known.len();
                    known.entry(key.to_bytes()).or_insert(next);
                }
            }
        }
        let keys = std::iter::repeat_with(Known::default).take(known.len()).collect();
        let usage = Usage { keys, room: tables, since_table: 0, since_forgetting: 0 };
        let base = (!known.is_empty()).then(|| Table::new(&ED25519_BASEPOINT_POINT));
        Self { base, known, usage: RefCell::new(usage) }
    }

    /// Returns the number of keys that have a table.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.usage.try_borrow().map_or(0, |usage| usage.keys.iter().filter(|known| known.table.is_some()).count())
    }
}

impl VerifySignature for TableVerifier {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let in_software = || SoftwareVerifier.verify(key, algorithm, message, signature);
        let (Material::Ed25519(ed25519), Algorithm::Ed25519, Some(base)) = (&key.material, algorithm, &self.base)
        else {
            return in_software();
        };
        // The borrow fails only if an earlier call trapped halfway on a host that continues with the same memory.
        let (Some(place), Ok(mut usage)) = (self.known.get(ed25519.as_bytes()), self.usage.try_borrow_mut()) else {
            return in_software();
        };
        match usage.keys.get(*place).and_then(|known| known.table.as_ref()) {
            Some(table) => verify(base, table, ed25519, message, signature),
            None => in_software(),
        }?;
        // Bad signatures are not counted. Otherwise a sender without a key could choose which tables are built.
        usage.count(*place, ed25519);
        Ok(())
    }
}

impl Usage {
    /// Counts a good signature by the key at this index, and builds its table if the key is used often enough.
    fn count(&mut self, place: usize, key: &ed25519_dalek::VerifyingKey) {
        self.since_forgetting += 1;
        if self.since_forgetting >= USES_BEFORE_FORGETTING {
            self.since_forgetting = 0;
            self.keys.iter_mut().for_each(|known| known.uses /= 2);
        }
        self.since_table = self.since_table.saturating_add(1);
        let Some(known) = self.keys.get_mut(place) else { return };
        known.uses = known.uses.saturating_add(1);
        let uses = known.uses;
        if known.table.is_some() || uses < USES_BEFORE_TABLE || self.since_table < USES_BETWEEN_TABLES {
            return;
        }
        if self.room > 0 {
            self.room -= 1;
        } else {
            let tables = self.keys.iter_mut().filter(|known| known.table.is_some());
            // The key must be used twice as often, or keys with similar use would replace each other in turn.
            match tables.min_by_key(|known| known.uses) {
                Some(least) if least.uses < uses / 2 => least.table = None,
                _ => return,
            }
        }
        self.since_table = 0;
        if let Some(known) = self.keys.get_mut(place) {
            known.table = Some(Table::new(&-key.to_edwards()));
        }
    }
}

/// Verifies like `ed25519_dalek::VerifyingKey::verify_strict`, with the tables of B and of -A.
fn verify(
    base: &Table,
    minus_a: &Table,
    key: &ed25519_dalek::VerifyingKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    // RFC 8032, section 5.1.7: `s` must be reduced, or every signature would have a second valid form.
    let s = Scalar::from_canonical_bytes(*signature.s_bytes()).into_option().ok_or(BadSignature)?;
    let hash = Sha512::new().chain_update(signature.r_bytes()).chain_update(key.as_bytes()).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let r = sum(base, &digits(&s), minus_a, &digits(&k));
    // The comparison uses the encoding: a non-canonical encoding of `R` differs, and an `R` of small order is detected in `r`. The key
    // constructor already rejected an A of small order.
    if r.compress().as_bytes() == signature.r_bytes() && !r.is_small_order() { Ok(()) } else { Err(BadSignature) }
}

/// The number of multiples of a point in a row. A digit selects one of them, its negative, or zero.
const MULTIPLES: usize = 128;
/// The number of rows. Each row serves two digits of a scalar.
const ROWS: usize = 16;

/// A scalar in base 256, least significant digit first. Each digit is between -127 and 128. The digits are in pairs, one pair per row.
type Digits = [[i16; 2]; ROWS];

/// Selects one digit of a pair.
type Place = fn(&[i16; 2]) -> i16;

/// Multiples of a point P: row `i` holds `1 * 2^(16 i) * P` to `128 * 2^(16 i) * P`.
///
/// A table takes 328 KB in a VM whose field elements have 32-bit limbs. Memory access depends on the scalar, so an observer of memory
/// access learns the input. This input is not secret: the sender knows the signature, the message and the key.
struct Table(Vec<[EdwardsPoint; MULTIPLES]>);

impl Table {
    fn new(point: &EdwardsPoint) -> Self {
        let mut first = *point;
        let rows = std::iter::repeat_with(|| {
            let mut next = EdwardsPoint::identity();
            let row = std::array::from_fn(|_| {
                next += first;
                next
            });
            first = times_256(times_256(first));
            row
        });
        Self(rows.take(ROWS).collect())
    }

    /// Adds this table's part of `digits * P` to a sum, for the digits at either the even or the odd positions.
    fn add(&self, mut sum: EdwardsPoint, digits: &Digits, place: Place) -> EdwardsPoint {
        for (row, digit) in self.0.iter().zip(digits.iter().map(place)) {
            let multiple = usize::from(digit.unsigned_abs()).checked_sub(1).and_then(|at| row.get(at));
            match multiple {
                Some(multiple) if digit > 0 => sum += multiple,
                Some(multiple) => sum -= multiple,
                None => {}
            }
        }
        sum
    }
}

fn digits(scalar: &Scalar) -> Digits {
    let mut digits = [[0; 2]; ROWS];
    let mut carry = 0;
    // Scalars have 253 bits, so the last byte absorbs the carry.
    for (to, byte) in digits.as_flattened_mut().iter_mut().zip(scalar.as_bytes()) {
        let digit = i16::from(*byte) + carry;
        carry = i16::from(digit > 128);
        *to = digit - carry * 256;
    }
    digits
}

/// Computes `s * P + k * Q` from the tables of P and Q.
fn sum(p: &Table, s: &Digits, q: &Table, k: &Digits) -> EdwardsPoint {
    let (even, odd): (Place, Place) = (|[even, _]| *even, |[_, odd]| *odd);
    // The digits at odd positions come first: they weigh 256 times as much as those of the same row at even positions.
    let sum = q.add(p.add(EdwardsPoint::identity(), s, odd), k, odd);
    q.add(p.add(times_256(sum), s, even), k, even)
}

fn times_256(point: EdwardsPoint) -> EdwardsPoint {
    let times_64 = point.mul_by_cofactor().mul_by_cofactor();
    let times_128 = times_64 + times_64;
    times_128 + times_128
}

#[cfg(test)]
#[path = "tables_tests.rs"]
pub(super) mod tests;
