//! Rows of which each is measured in addition to another row: the same request without what is measured.

use anyhow::{Context as _, Result};

use super::load::{self, Clients};
use super::report::Measured;
use super::{Size, used_for};
use crate::envoy::Envoy;
use crate::progress;

/// A row: its listener, what its requests are like, and the base row for the added cost.
pub(super) struct Row<T> {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) listener: &'static str,
    pub(super) calls: T,
    /// Empty for a base row, which is not in the result.
    pub(super) over: &'static str,
}

/// Measures all rows in each round. `connect` opens the connections of a row, and `calls` returns the requests of a row in one round.
pub(super) fn measure<T>(
    title: &'static str,
    envoy: &Envoy,
    size: &Size,
    rows: &[Row<T>],
    connect: impl Fn(&Row<T>) -> Result<Clients>,
    mut calls: impl FnMut(&Row<T>) -> Result<Vec<Vec<u8>>>,
) -> Result<Vec<Measured>> {
    let mut clients = rows.iter().map(connect).collect::<Result<Vec<_>>>()?;
    let mut measured: Vec<_> = rows.iter().map(|row| Measured::new(row.name, row.what)).collect();
    progress::times(title, size.warm_up + size.rounds, |round| {
        for (row, (clients, measured)) in rows.iter().zip(clients.iter_mut().zip(&mut measured)) {
            let calls = calls(row)?;
            let used = used_for(&[envoy.process()], clients, &calls, load::is_ok)
                .with_context(|| format!("row `{}`", row.name))?;
            if round >= size.warm_up {
                measured.add(used, calls.len());
            }
        }
        anyhow::Ok(())
    })?;
    let all = measured.clone();
    let told = rows.iter().zip(measured).filter(|(row, _)| !row.over.is_empty());
    told.map(|(row, measured)| {
        let base = all.iter().find(|base| base.name == row.over).context("a row has no baseline")?;
        Ok(measured.over(base))
    })
    .collect()
}
