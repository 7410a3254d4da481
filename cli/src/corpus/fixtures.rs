//! Keys and tokens: looked up by name, tokens put together from those that they begin as.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use callgate::policy::Place;
use serde_json::Value;

use super::format;
use super::merge::merge;
use super::reader::Reader;
use super::token::Recipe;
use crate::diagnostic::Diagnostics;
use crate::document;
use crate::mint::SigningKey;

/// Keys and tokens by name, those of imported files included.
#[derive(Default)]
pub(super) struct Fixtures {
    keys: HashMap<String, Arc<SigningKey>>,
    tokens: HashMap<String, Recipe>,
}

impl Fixtures {
    /// Takes over the keys and tokens of another file.
    pub(super) fn import(&mut self, path: &Path) -> Result<(), Diagnostics> {
        let document = document::read(path)?;
        let mut reader = Reader::of(&document);
        if let Some(format::Fixtures { keys, tokens }) = reader.read(&Place::root(), document.value()) {
            self.add(&mut reader, folder_of(path), &keys, &tokens);
        }
        reader.finish()
    }

    /// Adds keys and tokens of a file.
    pub(super) fn add(
        &mut self,
        reader: &mut Reader<'_>,
        folder: &Path,
        keys: &BTreeMap<String, Value>,
        tokens: &BTreeMap<String, Value>,
    ) {
        for (name, jwk) in keys {
            let place = Place::root().field("keys").field(name);
            match read_key(folder, jwk) {
                Err(message) => reader.error(&place, message),
                Ok(key) => {
                    if self.keys.insert(name.clone(), Arc::new(key)).is_some() {
                        reader.error(&place, format!("another key is called `{name}` already: choose another name"));
                    }
                }
            }
        }
        let place = |name: &str| Place::root().field("tokens").field(name);
        let mut waiting: BTreeMap<&String, format::Token> =
            tokens.iter().filter_map(|(name, token)| Some((name, reader.read(&place(name), token)?))).collect();
        // A mapping has no order, so a token waits until the one that it begins as is there.
        loop {
            let ready = |token: &format::Token| token.from.as_ref().is_none_or(|from| self.tokens.contains_key(from));
            let Some(name) = waiting.iter().find(|(_, token)| ready(token)).map(|(name, _)| *name) else { break };
            let Some(token) = waiting.remove(name) else { break };
            let recipe = self.recipe(reader, &place(name), token);
            if self.tokens.insert(name.clone(), recipe).is_some() {
                reader.error(&place(name), format!("another token is called `{name}` already: choose another name"));
            }
        }
        for (name, token) in waiting {
            let from = token.from.unwrap_or_default();
            reader.error(
                &place(name).field("from"),
                format!("there is no token `{from}` that does not begin as this one"),
            );
        }
    }

    /// The token of this name.
    pub(super) fn token(&self, name: &str) -> Option<&Recipe> {
        self.tokens.get(name)
    }

    fn recipe(&self, reader: &mut Reader<'_>, place: &Place, token: format::Token) -> Recipe {
        let mut recipe = token.from.as_ref().and_then(|from| self.tokens.get(from)).cloned().unwrap_or_default();
        for (field, name, slot) in
            [("key", &token.key, &mut recipe.key), ("sign_with", &token.sign_with, &mut recipe.sign_with)]
        {
            if let Some(name) = name {
                *slot = self.key(reader, &place.field(field), name);
            }
        }
        recipe.header.push(token.header);
        merge(&mut recipe.claims, &token.claims);
        recipe.raw_header = token.raw_header.or(recipe.raw_header);
        recipe.raw_claims = token.raw_claims.or(recipe.raw_claims);
        recipe.alter = token.alter.or(recipe.alter);
        recipe.form = token.form.or(recipe.form);
        recipe.text = token.text.or(recipe.text);
        recipe
    }

    /// The key of this name.
    pub(super) fn key(&self, reader: &mut Reader<'_>, place: &Place, name: &str) -> Option<Arc<SigningKey>> {
        let key = self.keys.get(name);
        if key.is_none() {
            reader.error(place, format!("there is no key `{name}`: write one of those under `keys`"));
        }
        key.cloned()
    }
}

/// A private JWK, or the file that it stands in.
fn read_key(folder: &Path, jwk: &Value) -> Result<SigningKey, String> {
    let read = match jwk {
        Value::String(file) => {
            let document = document::read(folder.join(file)).map_err(|error| error.to_string())?;
            SigningKey::from_jwk(document.value())
        }
        Value::Object(_) => SigningKey::from_jwk(jwk),
        _ => return Err("write a private JWK, or the file that it stands in, seen from this one".to_owned()),
    };
    read.map_err(|error| error.to_string())
}

/// The folder that a file stands in.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}
