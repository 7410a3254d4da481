//! Lists of revoked credentials, in a form that workers share and search without parsing it.
//!
//! - A [`Mark`] identifies what an entry names, within its [`Kind`].
//! - A [`Builder`] collects entries, and makes the [`Entries`] of them.
//! - [`Entries`] are bytes. A lookup searches the few entries whose marks begin alike, and allocates nothing.
//!
//! Where entries come from does not belong in this module, and neither does which of a request's credentials are looked up.

mod buckets;
mod build;
mod entries;
mod mark;

pub(crate) use build::{Builder, Entry};
pub(crate) use entries::{Entries, Moment, Revoked};
pub(crate) use mark::{Kind, Mark};

#[cfg(test)]
mod tests;
