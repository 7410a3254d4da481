use std::cell::{Cell, RefCell};

use super::*;
use crate::identity::crypto::{Algorithm, VerifyingKey};

const KEY: &[u8] = b"cgk_0123456789abcdefghijkl";
const UNTIL: u64 = 1_000;

/// Counts what a verifier is told about keys.
#[derive(Default)]
struct Counting {
    closed: bool,
    admitted: RefCell<Vec<[u8; 32]>>,
    known: Cell<u32>,
    unknown: Cell<u32>,
}

impl VerifySignature for Counting {
    fn verify(&self, _: &VerifyingKey, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        panic!("an API key has no signature")
    }

    fn admit(&self, signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        let [Signer::ApiKey(hash)] = signers else { panic!("{signers:?}") };
        self.admitted.borrow_mut().push(**hash);
        if self.closed { Err(BadSignature) } else { Ok(()) }
    }

    fn unknown_key(&self) {
        self.unknown.set(self.unknown.get() + 1);
    }

    fn known_key(&self) -> Result<(), BadSignature> {
        self.known.set(self.known.get() + 1);
        Ok(())
    }
}

impl Counting {
    fn counts(&self) -> (usize, u32, u32) {
        (self.admitted.borrow().len(), self.known.get(), self.unknown.get())
    }
}

fn keys(place: KeyPlace) -> ApiKeys {
    let mut keys = ApiKeys::new(place);
    assert_eq!(keys.add(sha256(KEY), (3, 0), Timestamp::from_secs(UNTIL)), None);
    keys
}

fn bearer() -> ApiKeys {
    keys(KeyPlace::Bearer("cgk_".into()))
}

fn reason(keys: &ApiKeys, presented: &[u8], now: u64, verifier: &Counting) -> Result<u32, Reason> {
    let verified = keys.verify(presented, Timestamp::from_secs(now), verifier);
    verified.map(|key| key.key().agent).map_err(|rejected| rejected.reason)
}

#[test]
fn finds_a_key_by_its_hash() {
    let verifier = Counting::default();
    assert_eq!(reason(&bearer(), KEY, UNTIL - 1, &verifier), Ok(3));
    assert_eq!(verifier.counts(), (1, 1, 0));
    assert_eq!(*verifier.admitted.borrow(), [sha256(KEY)]);
}

#[test]
fn every_byte_of_a_key_counts() {
    let trailing = [KEY, b" "].concat();
    let shorter = &[&KEY[..KEY.len() - 1], b"m"].concat();
    for wrong in [&trailing, &KEY.to_ascii_uppercase(), shorter, &[&b" "[..], KEY].concat()] {
        let verifier = Counting::default();
        assert_eq!(reason(&bearer(), wrong, 0, &verifier), Err(Reason::ApiKeyUnknown), "{wrong:?}");
        assert_eq!(verifier.counts(), (1, 0, 1));
    }
}

#[test]
fn hashes_and_charges_no_key_of_impossible_length() {
    for (place, length, is_possible) in [
        (KeyPlace::Header("x-api-key".into()), 0, false),
        (KeyPlace::Header("x-api-key".into()), 21, false),
        (KeyPlace::Header("x-api-key".into()), 22, true),
        (KeyPlace::Header("x-api-key".into()), 256, true),
        (KeyPlace::Header("x-api-key".into()), 257, false),
        (KeyPlace::Bearer("cgk_".into()), 4, false),
        (KeyPlace::Bearer("cgk_".into()), 25, false),
        (KeyPlace::Bearer("cgk_".into()), 26, true),
        (KeyPlace::Bearer("cgk_".into()), 260, true),
        (KeyPlace::Bearer("cgk_".into()), 261, false),
        (KeyPlace::Bearer("cgk_".into()), 10_240, false),
    ] {
        let verifier = Counting::default();
        let rejected = reason(&keys(place.clone()), &vec![b'a'; length], 0, &verifier);
        assert_eq!(rejected, Err(Reason::ApiKeyUnknown), "{place:?} {length}");
        assert_eq!(verifier.counts(), if is_possible { (1, 0, 1) } else { (0, 0, 0) }, "{place:?} {length}");
    }
}

#[test]
fn an_expired_key_is_charged_and_still_names_its_agent() {
    let (verifier, keys) = (Counting::default(), bearer());
    let rejected = keys.verify(KEY, Timestamp::from_secs(UNTIL), &verifier).unwrap_err();
    assert_eq!(rejected.reason, Reason::ApiKeyExpired);
    assert_eq!(rejected.key.map(|key| key.agent), Some(3));
    assert_eq!(verifier.counts(), (1, 0, 1));
}

#[test]
fn looks_up_nothing_for_a_source_over_its_limit() {
    let verifier = Counting { closed: true, ..Counting::default() };
    for presented in [KEY, b"cgk_another-key-of-the-right-size"] {
        assert_eq!(reason(&bearer(), presented, 0, &verifier), Err(Reason::CredentialsLimited));
    }
    assert_eq!(verifier.counts(), (2, 0, 0));
}

#[test]
fn only_the_exact_prefix_makes_a_bearer_credential_a_key() {
    let keys = bearer();
    for (credential, is_key) in [("cgk_x", true), ("cgk_", true), ("CGK_x", false), ("cgkx", false), ("", false)] {
        assert_eq!(keys.is_key(credential.as_bytes()), is_key, "{credential}");
    }
    assert!(!self::keys(KeyPlace::Header("x-api-key".into())).is_key(KEY));
}

#[test]
fn a_key_is_recorded_by_the_start_of_its_hash() {
    let keys = bearer();
    let names: Vec<_> = keys.iter().map(|key| key.name.to_string()).collect();
    let hash = sha256(KEY).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(names, [hash.get(..16).unwrap()]);
}
