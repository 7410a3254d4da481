//! Keys, certificates, tokens and proofs by name, and documents by URL. A token or proof can extend another one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use callgate::document::Place;
use serde_json::{Map, Value, json};

use super::certificate::Presented;
use super::documents::Documents;
use super::format;
use super::reader::Reader;
use super::token::Recipe;
use crate::diagnostic::Diagnostics;
use crate::document;
use crate::mint::SigningKey;

/// Keys, certificates, tokens and proofs by name and documents by URL, including those of imported files.
#[derive(Default)]
pub(super) struct Fixtures {
    keys: HashMap<String, Arc<SigningKey>>,
    certificates: HashMap<String, Presented>,
    tokens: HashMap<String, Recipe>,
    proofs: HashMap<String, Recipe>,
    documents: Documents,
}

impl Fixtures {
    /// Imports the keys, tokens, proofs and documents of another file.
    pub(super) fn import(&mut self, path: &Path) -> Result<(), Diagnostics> {
        let document = document::read(path)?;
        let mut reader = Reader::of(&document);
        if let Some(fixtures) = reader.read(&Place::root(), document.value()) {
            self.add(&mut reader, folder_of(path), &fixtures);
        }
        reader.finish()
    }

    /// Adds the keys, tokens, proofs and documents of a file.
    pub(super) fn add(&mut self, reader: &mut Reader<'_>, folder: &Path, fixtures: &format::Fixtures) {
        let format::Fixtures { keys, certificates, tokens, proofs, documents } = fixtures;
        for (name, jwk) in keys {
            let place = Place::root().field("keys").field(name);
            match read_key(folder, jwk) {
                Err(message) => reader.error(&place, message),
                Ok(key) => {
                    if self.keys.insert(name.clone(), Arc::new(key)).is_some() {
                        reader.error(&place, format!("another key is named `{name}`; choose another name"));
                    }
                }
            }
        }
        for (name, certificate) in certificates {
            let place = Place::root().field("certificates").field(name);
            let Some(written) = reader.read::<format::Certificate>(&place, certificate) else { continue };
            if self.certificates.insert(name.clone(), Presented::new(&written)).is_some() {
                reader.error(&place, format!("another certificate is named `{name}`; choose another name"));
            }
        }
        let mut known = std::mem::take(&mut self.tokens);
        self.add_recipes(reader, "token", tokens, &mut known);
        self.tokens = known;
        let mut known = std::mem::take(&mut self.proofs);
        self.add_recipes(reader, "proof", proofs, &mut known);
        self.proofs = known;
        let mut known = std::mem::take(&mut self.documents);
        known.add(reader, self, &Place::root().field("documents"), documents);
        self.documents = known;
    }

    fn add_recipes(
        &self,
        reader: &mut Reader<'_>,
        kind: &str,
        given: &BTreeMap<String, Value>,
        known: &mut HashMap<String, Recipe>,
    ) {
        let place = |name: &str| Place::root().field(&format!("{kind}s")).field(name);
        let mut waiting: BTreeMap<&String, format::Token> =
            given.iter().filter_map(|(name, token)| Some((name, reader.read(&place(name), token)?))).collect();
        // A mapping has no order, so a token waits until the token that it extends is known.
        loop {
            let ready = |token: &format::Token| token.from.as_ref().is_none_or(|from| known.contains_key(from));
            let Some(name) = waiting.iter().find(|(_, token)| ready(token)).map(|(name, _)| *name) else { break };
            let Some(token) = waiting.remove(name) else { break };
            let recipe = token.from.as_ref().and_then(|from| known.get(from)).cloned().unwrap_or_default();
            let recipe = self.recipe(reader, &place(name), token, recipe);
            if known.insert(name.clone(), recipe).is_some() {
                reader.error(&place(name), format!("another {kind} is named `{name}`; choose another name"));
            }
        }
        for (name, token) in waiting {
            let from = token.from.unwrap_or_default();
            reader.error(
                &place(name).field("from"),
                format!("`{from}` is not a {kind}, or depends on this one; name another"),
            );
        }
    }

    /// Returns the token of this name.
    pub(super) fn token(&self, name: &str) -> Option<&Recipe> {
        self.tokens.get(name)
    }

    /// Returns the certificate of this name.
    pub(super) fn certificate(&self, name: &str) -> Option<&Presented> {
        self.certificates.get(name)
    }

    /// Returns the proof of this name.
    pub(super) fn proof(&self, name: &str) -> Option<&Recipe> {
        self.proofs.get(name)
    }

    /// Returns the documents.
    pub(super) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Applies a token's own description to the recipe that it extends.
    fn recipe(&self, reader: &mut Reader<'_>, place: &Place, token: format::Token, mut recipe: Recipe) -> Recipe {
        for (field, name, slot) in
            [("key", &token.key, &mut recipe.key), ("sign_with", &token.sign_with, &mut recipe.sign_with)]
        {
            if let Some(name) = name {
                *slot = self.key(reader, &place.field(field), name);
            }
        }
        recipe.header.push(token.header);
        if let Some(name) = &token.bound_to
            && let Some(key) = self.key(reader, &place.field("bound_to"), name)
        {
            let binding = json!({ "jkt": key.thumbprint() });
            recipe.claims.push(Map::from_iter([("cnf".to_owned(), binding)]));
        }
        if let Some(name) = &token.bound_to_certificate {
            match self.certificate(name) {
                Some(certificate) => {
                    let binding = json!({ "x5t#S256": certificate.thumbprint() });
                    recipe.claims.push(Map::from_iter([("cnf".to_owned(), binding)]));
                }
                None => reader.error(
                    &place.field("bound_to_certificate"),
                    format!("unknown certificate `{name}`; expected a name from `certificates`"),
                ),
            }
        }
        recipe.claims.push(token.claims);
        recipe.raw_header = token.raw_header.or(recipe.raw_header);
        recipe.raw_claims = token.raw_claims.or(recipe.raw_claims);
        recipe.alter = token.alter.or(recipe.alter);
        recipe.form = token.form.or(recipe.form);
        recipe.text = token.text.or(recipe.text);
        recipe
    }

    /// Returns the key of this name.
    pub(super) fn key(&self, reader: &mut Reader<'_>, place: &Place, name: &str) -> Option<Arc<SigningKey>> {
        let key = self.keys.get(name);
        if key.is_none() {
            reader.error(place, format!("unknown key `{name}`; expected a name from `keys`"));
        }
        key.cloned()
    }
}

/// Reads a private JWK, or the file that contains it.
fn read_key(folder: &Path, jwk: &Value) -> Result<SigningKey, String> {
    let read = match jwk {
        Value::String(file) => {
            let document = document::read(folder.join(file)).map_err(|error| error.to_string())?;
            SigningKey::from_jwk(document.value())
        }
        Value::Object(_) => SigningKey::from_jwk(jwk),
        _ => return Err("expected a private JWK, or the path of its file, relative to this file".to_owned()),
    };
    read.map_err(|error| error.to_string())
}

/// Returns the folder that contains a file.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}
