//! For tests: workers that come in between each other at every operation, and a host that misbehaves.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use super::{MemoryStore, SharedStore, StoreError, Versioned};

/// What one of several workers does with the store.
pub(crate) type Work<'w, T> = Box<dyn FnOnce(&dyn SharedStore) -> T + Send + 'w>;

/// Runs workers at once. Each waits before every operation on the store until `schedule` says that it is its turn: the same
/// schedule is the same run. Returns what they returned.
pub(crate) fn interleave<T: Send>(store: &dyn TestStore, workers: Vec<Work<'_, T>>, schedule: &[u8]) -> Vec<T> {
    let stage = Stage { turns: Mutex::new(vec![Turn::Running; workers.len()]), changed: Condvar::new() };
    thread::scope(|scope| {
        let handles: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(number, worker)| {
                let stage = &stage;
                scope.spawn(move || {
                    let result = worker(&Waiting { store, stage, number });
                    stage.set(number, Turn::Done);
                    result
                })
            })
            .collect();
        stage.direct(schedule);
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// A store that threads share.
pub(crate) trait TestStore: SharedStore + Sync {}
impl<S: SharedStore + Sync> TestStore for S {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Running,
    Waiting,
    Granted,
    Done,
}

struct Stage {
    turns: Mutex<Vec<Turn>>,
    changed: Condvar,
}

impl Stage {
    fn set(&self, number: usize, turn: Turn) {
        self.turns.lock().unwrap()[number] = turn;
        self.changed.notify_all();
    }

    /// Grants one operation after the other, until every worker is done.
    fn direct(&self, schedule: &[u8]) {
        let mut choices = schedule.iter().cycle();
        loop {
            let turns = self.turns.lock().unwrap();
            let settled = |turns: &mut Vec<Turn>| turns.iter().any(|t| matches!(t, Turn::Running | Turn::Granted));
            let mut turns = self.changed.wait_while(turns, settled).unwrap();
            let waiting: Vec<_> = (0..turns.len()).filter(|n| turns[*n] == Turn::Waiting).collect();
            if waiting.is_empty() {
                return;
            }
            let choice = usize::from(*choices.next().unwrap_or(&0));
            turns[waiting[choice % waiting.len()]] = Turn::Granted;
            drop(turns);
            self.changed.notify_all();
        }
    }
}

/// The store as one worker sees it.
struct Waiting<'s> {
    store: &'s dyn TestStore,
    stage: &'s Stage,
    number: usize,
}

impl Waiting<'_> {
    fn turn<T>(&self, operation: impl FnOnce(&dyn TestStore) -> T) -> T {
        self.stage.set(self.number, Turn::Waiting);
        let turns = self.stage.turns.lock().unwrap();
        let mut turns = self.stage.changed.wait_while(turns, |turns| turns[self.number] != Turn::Granted).unwrap();
        // The operation is done before anybody else gets a turn.
        let result = operation(self.store);
        turns[self.number] = Turn::Running;
        drop(turns);
        self.stage.changed.notify_all();
        result
    }
}

impl SharedStore for Waiting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.turn(|store| store.get(key))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        self.turn(|store| store.create(key, value))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        self.turn(|store| store.compare_and_set(key, value, version))
    }
}

/// What a [`FaultyStore`] does wrong; every number counts operations of a kind, 0 for never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Every so many reads fail.
    pub(crate) failing_get: u32,
    /// Every so many writes fail.
    pub(crate) failing_set: u32,
    /// Every so many writes say that another worker was faster, though none was.
    pub(crate) mismatch: u32,
    /// Every so many writes are acknowledged and lost, as when a host evicts what was just written.
    pub(crate) lost: u32,
    /// Every so many writes, what was written is forgotten at once, with its key.
    pub(crate) forgotten: u32,
    /// Keys are told apart by so many values only, as by a CRC32 that somebody worked out collisions for.
    pub(crate) aliases: u32,
}

/// A store on a host that misbehaves.
#[derive(Default)]
pub(crate) struct FaultyStore {
    pub(crate) store: MemoryStore,
    pub(crate) faults: Faults,
    gets: AtomicU32,
    sets: AtomicU32,
}

impl FaultyStore {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// How often it was read.
    pub(crate) fn reads(&self) -> u32 {
        self.gets.load(Ordering::Relaxed)
    }

    /// How often it was written, or tried to be.
    pub(crate) fn writes(&self) -> u32 {
        self.sets.load(Ordering::Relaxed)
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        match self.faults.aliases {
            0 => key.to_vec(),
            aliases => (key.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte)) % aliases)
                .to_le_bytes()
                .to_vec(),
        }
    }

    fn set(&self, key: &[u8], write: impl FnOnce(&[u8]) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
        let key = &self.key(key);
        let number = self.sets.fetch_add(1, Ordering::Relaxed) + 1;
        let due = |every: u32| every > 0 && number.is_multiple_of(every);
        match self.faults {
            faults if due(faults.failing_set) => Err(StoreError),
            faults if due(faults.mismatch) => Ok(false),
            faults if due(faults.lost) => Ok(true),
            faults => {
                let written = write(key);
                if due(faults.forgotten) {
                    self.store.forget(key);
                }
                written
            }
        }
    }
}

impl SharedStore for FaultyStore {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let number = self.gets.fetch_add(1, Ordering::Relaxed) + 1;
        if self.faults.failing_get > 0 && number.is_multiple_of(self.faults.failing_get) {
            return Err(StoreError);
        }
        self.store.get(&self.key(key))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        self.set(key, |key| self.store.create(key, value))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        self.set(key, |key| self.store.compare_and_set(key, value, version))
    }
}
