//! Test tools: workers that are interleaved at every operation, and a host that misbehaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use super::{MemoryStore, SharedStore, StoreError, Versioned};

/// The work of one worker with the store.
pub(crate) type Work<'w, T> = Box<dyn FnOnce(&dyn SharedStore) -> T + Send + 'w>;

/// Runs workers concurrently. Each waits before every operation on the store until `schedule` gives it a turn, so the same
/// schedule results in the same run. Returns the workers' results.
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

    /// Grants one operation after another until every worker is done.
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

/// One worker's view of the store.
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
        // The operation finishes before another worker gets a turn.
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

/// Kong's zone, as its module implements it. Keys are identified by their CRC32, version 0 means that the key must not exist, and
/// each key counts its own versions. The least recently used key is evicted if there is no room, and values are copied without a
/// lock.
pub(crate) struct ZoneStore {
    /// The room in bytes for values.
    pub(crate) room: usize,
    /// Every so many writes, the written key is evicted immediately; 0 for never.
    pub(crate) forgotten: u32,
    /// Every so many reads, half of the value is the previous one; 0 for never.
    pub(crate) torn: u32,
    zone: Mutex<Zone>,
}

#[derive(Default)]
struct Zone {
    nodes: HashMap<u32, Node>,
    clock: u64,
    reads: u32,
    writes: u32,
}

#[derive(Default)]
struct Node {
    value: Vec<u8>,
    before: Vec<u8>,
    version: u32,
    touched: u64,
}

impl Default for ZoneStore {
    fn default() -> Self {
        Self { room: usize::MAX, forgotten: 0, torn: 0, zone: Mutex::default() }
    }
}

impl ZoneStore {
    /// Returns a zone that returns every so many values half written.
    pub(crate) fn torn(torn: u32) -> Self {
        Self { torn, ..Self::default() }
    }

    /// Returns a zone with room for this many bytes of values.
    pub(crate) fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Returns the CRC32 of a key without the name of the zone.
    pub(crate) fn crc32(key: &[u8]) -> u32 {
        let key = key.strip_prefix(b"callgate/").unwrap_or(key);
        !key.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.zone.lock().unwrap().nodes.len()
    }

    /// Returns the total length of all values in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.zone.lock().unwrap().nodes.values().map(|node| node.value.len()).sum()
    }

    /// Evicts every key.
    pub(crate) fn clear(&self) {
        self.zone.lock().unwrap().nodes.clear();
    }

    /// Writes without a version check, as another filter could.
    pub(crate) fn put(&self, key: &[u8], value: &[u8]) {
        let mut zone = self.zone.lock().unwrap();
        let node = zone.nodes.entry(Self::crc32(key)).or_default();
        node.value = value.to_vec();
        node.version += 1;
    }

    /// Writes a value if the key has this version of the host; 0 if the key must not exist.
    fn set(&self, key: &[u8], value: &[u8], version: u32) -> bool {
        let mut zone = self.zone.lock().unwrap();
        let key = Self::crc32(key);
        if zone.nodes.get(&key).map_or(0, |node| node.version) != version {
            return false;
        }
        zone.clock += 1;
        zone.writes += 1;
        let (touched, forgets) = (zone.clock, self.forgotten > 0 && zone.writes.is_multiple_of(self.forgotten));
        let node = zone.nodes.entry(key).or_default();
        *node = Node { before: std::mem::take(&mut node.value), value: value.to_vec(), version: version + 1, touched };
        while zone.nodes.values().map(|node| node.value.len()).sum::<usize>() > self.room {
            let (oldest, _) = zone.nodes.iter().min_by_key(|(_, node)| node.touched).unwrap();
            let oldest = *oldest;
            zone.nodes.remove(&oldest);
        }
        if forgets {
            zone.nodes.remove(&key);
        }
        true
    }
}

impl SharedStore for ZoneStore {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let mut zone = self.zone.lock().unwrap();
        zone.clock += 1;
        zone.reads += 1;
        let (touched, reads) = (zone.clock, zone.reads);
        Ok(zone.nodes.get_mut(&Self::crc32(key)).map(|node| {
            node.touched = touched;
            let mut value = node.value.clone();
            let half = value.len() / 2;
            if self.torn > 0 && reads.is_multiple_of(self.torn) && node.before.len() == value.len() {
                value[half..].copy_from_slice(&node.before[half..]);
            }
            Versioned { value, version: node.version }
        }))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        Ok(self.set(key, value, 0))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        if version == 0 { Err(StoreError) } else { Ok(self.set(key, value, version)) }
    }
}

/// The faults of a [`FaultyStore`]. Each number counts operations of one kind; 0 for never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Every so many reads fail.
    pub(crate) failing_get: u32,
    /// Every so many writes fail.
    pub(crate) failing_set: u32,
    /// Every so many writes report that another worker was faster, although this is not true.
    pub(crate) mismatch: u32,
    /// Every so many writes are acknowledged and lost, as on a host that evicts a new value.
    pub(crate) lost: u32,
    /// Every so many writes, the written key is evicted immediately.
    pub(crate) forgotten: u32,
    /// Keys are reduced to this many values, as by a CRC32 for which somebody computed collisions.
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

    /// Returns the number of reads.
    pub(crate) fn reads(&self) -> u32 {
        self.gets.load(Ordering::Relaxed)
    }

    /// Returns the number of writes, including failed ones.
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
