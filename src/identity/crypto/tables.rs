//! Ed25519 with tables for the keys that a policy names: a signature then costs additions alone.
//!
//! Verdicts are those of [`SoftwareVerifier`], whatever is in the tables.

use std::cell::RefCell;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Digest as _, Sha512, Signature};

use super::key::Material;
use super::{Algorithm, BadSignature, SoftwareVerifier, VerifySignature, VerifyingKey};
use crate::text::hash::PolicyMap;

/// Good signatures of a key after which it may have a table. Building one costs as much as it saves in about as many.
const USES_BEFORE_TABLE: u32 = 16;
/// Good signatures between two tables: no request has as many, so none waits for two.
const USES_BETWEEN_TABLES: u32 = 8;
/// Good signatures after which all that was counted counts half, so that what is used now wins over what was used once.
const USES_BEFORE_FORGETTING: u32 = 1 << 16;

/// Verifies in software, and Ed25519 signatures by the keys of a policy with tables.
///
/// Keys that come with requests never have one: it is their senders who would choose what is built.
pub struct TableVerifier {
    /// The first part of every verification, the same for all keys. None where nothing has a table.
    base: Option<Table>,
    /// From the encoding of a key to its place in `Usage::keys`.
    known: PolicyMap<[u8; 32], usize>,
    usage: RefCell<Usage>,
}

struct Usage {
    keys: Vec<Known>,
    /// How many more tables there may be.
    room: u32,
    /// Good signatures since the last table was built, and since all counts were halved.
    since_table: u32,
    since_forgetting: u32,
}

#[derive(Default)]
struct Known {
    /// Good signatures, halved from time to time.
    uses: u32,
    table: Option<Table>,
}

impl TableVerifier {
    /// A verifier that keeps at most so many tables, for those of these keys that are used most.
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

    /// How many keys have a table.
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
        // In use only where an earlier call was stopped in the middle, on a host that goes on with the same memory.
        let (Some(place), Ok(mut usage)) = (self.known.get(ed25519.as_bytes()), self.usage.try_borrow_mut()) else {
            return in_software();
        };
        match usage.keys.get(*place).and_then(|known| known.table.as_ref()) {
            Some(table) => verify(base, table, ed25519, message, signature),
            None => in_software(),
        }?;
        // Bad signatures count for nothing, or whoever has no key could choose what is built.
        usage.count(*place, ed25519);
        Ok(())
    }
}

impl Usage {
    /// Counts a good signature of the key at this place, and builds its table when that pays.
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
            // Twice as often, so that keys that are used alike do not take turns.
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

/// What `ed25519_dalek::VerifyingKey::verify_strict` finds, with the tables of B and of -A.
fn verify(
    base: &Table,
    minus_a: &Table,
    key: &ed25519_dalek::VerifyingKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    // RFC 8032, section 5.1.7: `s` has to be reduced, or every signature would have a twin.
    let s = Scalar::from_canonical_bytes(*signature.s_bytes()).into_option().ok_or(BadSignature)?;
    let hash = Sha512::new().chain_update(signature.r_bytes()).chain_update(key.as_bytes()).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let r = sum(base, &digits(&s), minus_a, &digits(&k));
    // Compared as it is encoded: an `R` in another encoding than its own differs, and one of small order is found in `r`.
    // That A is none of small order was seen when the key was made.
    if r.compress().as_bytes() == signature.r_bytes() && !r.is_small_order() { Ok(()) } else { Err(BadSignature) }
}

/// Multiples of a point in a row: a digit is one of them, the negative of one, or zero.
const MULTIPLES: usize = 128;
/// Rows, each for two digits of a scalar.
const ROWS: usize = 16;

/// A scalar in base 256, the least digit first, each between -127 and 128: in pairs, as rows have them.
type Digits = [[i16; 2]; ROWS];

/// One of a pair.
type Place = fn(&[i16; 2]) -> i16;

/// Multiples of a point P: row `i` holds `1 * 2^(16 i) * P` to `128 * 2^(16 i) * P`.
///
/// It takes 328 KB in a VM whose field elements have 32-bit limbs. Which of the multiples is read tells what is computed. That is
/// no secret: signature, message and key are known to whoever sends them.
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

    /// Adds this table's part of `digits * P` to a sum: for the digits at even or at odd places.
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
    // Scalars have 253 bits, so that the last byte takes a carry and leaves none.
    for (to, byte) in digits.as_flattened_mut().iter_mut().zip(scalar.as_bytes()) {
        let digit = i16::from(*byte) + carry;
        carry = i16::from(digit > 128);
        *to = digit - carry * 256;
    }
    digits
}

/// `s * P + k * Q` from the tables of P and Q.
fn sum(p: &Table, s: &Digits, q: &Table, k: &Digits) -> EdwardsPoint {
    let (even, odd): (Place, Place) = (|[even, _]| *even, |[_, odd]| *odd);
    // The digits at odd places first, which stand for 256 times as much as those of the same row at even places.
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
