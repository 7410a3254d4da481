//! The corpus in the filter under a wasm host, as each gateway would have it.

use std::collections::BTreeMap;

use test_harness::build::{self, Flavor};
use test_harness::corpus::wasm::{self, Came};
use test_harness::corpus::{Feature, suites};
use test_harness::wasmhost::{Module, Personality};

#[test]
fn every_case_is_decided_as_it_expects_under_each_gateway() {
    let module = Module::load(&build::filter(Flavor::Release).unwrap()).unwrap();
    let rows = wasm::run(&module, &suites().unwrap(), &Personality::ALL).unwrap();
    let wrong: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.came {
            Came::Differs(differences) => Some(format!("{}: {differences}", row.personality.manners().name)),
            _ => None,
        })
        .collect();
    let mut counts: BTreeMap<_, [usize; 4]> = BTreeMap::new();
    let mut lacking: BTreeMap<(Personality, Feature), usize> = BTreeMap::new();
    for row in &rows {
        let [holds, late, without, differs] = counts.entry(row.personality).or_default();
        *match &row.came {
            Came::Holds => holds,
            Came::Late => late,
            Came::Without(lost) => {
                lost.iter().for_each(|feature| *lacking.entry((row.personality, *feature)).or_default() += 1);
                without
            }
            Came::Differs(_) => differs,
        } += 1;
    }
    println!("{counts:?}\n{lacking:?}");
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
