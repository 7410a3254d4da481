//! Wakes streams and configurations: Envoy gives modules no timer.
//!
//! One thread of the process passes events to Envoy's schedulers, which run the hooks `scheduled` on the right thread. It starts with the
//! first alarm and never ends. Without alarms it sleeps. Each owner has at most one alarm that is set, so their number is bounded by the
//! number of streams that wait.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::{self, EnvoyConfig, EnvoyScheduler, EnvoyStream};

/// What a scheduler belongs to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Stream,
    Config,
}

/// A scheduler of Envoy.
struct Pointer(EnvoyScheduler);

// SAFETY: Envoy's functions for schedulers can be called on all threads. The mutex around the pointer keeps them apart.
unsafe impl Send for Pointer {}

/// A scheduler of Envoy that several threads use. It is deleted when its owner ends, and not used after that: Envoy's event loop may end
/// next.
struct Scheduler {
    pointer: Mutex<Option<Pointer>>,
    owner: Owner,
}

impl Scheduler {
    /// Passes an event to the owner, unless it has ended.
    fn commit(&self, event: u64) {
        let pointer = self.pointer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Pointer(scheduler)) = *pointer else { return };
        // SAFETY: the scheduler was not deleted, and cannot be while the lock is held. Envoy only queues the event.
        unsafe {
            match self.owner {
                Owner::Stream => abi::envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler, event),
                Owner::Config => {
                    abi::envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler, event);
                }
            }
        }
    }

    /// Deletes the scheduler.
    fn close(&self) {
        let pointer = self.pointer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Pointer(scheduler)) = pointer else { return };
        // SAFETY: the pointer was taken, so nothing uses the scheduler any more.
        unsafe {
            match self.owner {
                Owner::Stream => abi::envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler),
                Owner::Config => abi::envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler),
            }
        }
    }
}

/// The alarm of a stream or of a configuration. It ends with its owner: after it was dropped, no event is passed any more.
pub(crate) struct Alarm {
    scheduler: Arc<Scheduler>,
    set: Option<Key>,
}

impl Alarm {
    /// Returns the alarm of a stream. Must be called in one of its hooks.
    pub(crate) fn of_stream(stream: EnvoyStream) -> Option<Self> {
        // SAFETY: the stream is valid.
        let scheduler = unsafe { abi::envoy_dynamic_module_callback_http_filter_scheduler_new(stream) };
        Self::new(scheduler, Owner::Stream)
    }

    /// Returns the alarm of a configuration. Must be called in one of its hooks.
    pub(crate) fn of_config(config: EnvoyConfig) -> Option<Self> {
        // SAFETY: the configuration is valid.
        let scheduler = unsafe { abi::envoy_dynamic_module_callback_http_filter_config_scheduler_new(config) };
        Self::new(scheduler, Owner::Config)
    }

    fn new(scheduler: EnvoyScheduler, owner: Owner) -> Option<Self> {
        let pointer = Mutex::new(Some(Pointer(scheduler)));
        (!scheduler.is_null()).then(|| Self { scheduler: Arc::new(Scheduler { pointer, owner }), set: None })
    }

    /// Passes the event to the owner after this time. An alarm that is set for an earlier time stays.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn set(&mut self, delay: Duration, event: u64) -> io::Result<()> {
        let due = Instant::now() + delay;
        let mut queue = TIMER.start()?;
        if let Some(set) = self.set.take() {
            if set.due <= due && queue.entries.contains_key(&set) {
                self.set = Some(set);
                return Ok(());
            }
            queue.entries.remove(&set);
        }
        self.set = Some(queue.insert(due, Entry { scheduler: Arc::clone(&self.scheduler), event }));
        let is_too_late = queue.wake_before(due);
        drop(queue);
        if is_too_late {
            TIMER.changed.notify_one();
        }
        Ok(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(set) = self.set.take() {
            TIMER.queue().entries.remove(&set);
        }
        self.scheduler.close();
    }
}

/// The order of alarms. The number keeps those for the same time apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    due: Instant,
    number: u64,
}

/// An alarm that is set.
struct Entry {
    scheduler: Arc<Scheduler>,
    event: u64,
}

/// The alarms that are set.
struct Queue<E = Entry> {
    entries: BTreeMap<Key, E>,
    /// The number of alarms so far.
    numbers: u64,
    /// When the thread looks at the alarms next. `None` if it sleeps until it is notified.
    wakes: Option<Instant>,
    is_started: bool,
}

impl<E> Queue<E> {
    const fn new() -> Self {
        Self { entries: BTreeMap::new(), numbers: 0, wakes: None, is_started: false }
    }

    fn insert(&mut self, due: Instant, entry: E) -> Key {
        self.numbers = self.numbers.wrapping_add(1);
        let key = Key { due, number: self.numbers };
        self.entries.insert(key, entry);
        key
    }

    /// Takes the first alarm if its time has come.
    fn take_due(&mut self, now: Instant) -> Option<E> {
        let first = self.entries.first_entry()?;
        (first.key().due <= now).then(|| first.remove())
    }

    /// Returns whether the thread must be notified of an alarm for this time. Most requests that wait set one and drop it again before the
    /// thread wakes for an earlier request, and waking a thread costs more than a decision.
    fn wake_before(&mut self, due: Instant) -> bool {
        let is_too_late = self.wakes.is_none_or(|wakes| due < wakes);
        if is_too_late {
            self.wakes = Some(due);
        }
        is_too_late
    }

    /// Returns the time of the first alarm.
    fn first(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(key, _)| key.due)
    }
}

/// The timer of the process.
struct Timer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

static TIMER: Timer = Timer { queue: Mutex::new(Queue::new()), changed: Condvar::new() };

/// Starts the thread, unless it runs.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start() -> io::Result<()> {
    TIMER.start().map(drop)
}

impl Timer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&'static self) -> io::Result<MutexGuard<'static, Queue>> {
        let mut queue = self.queue();
        if !queue.is_started {
            thread::Builder::new().name("callgate".into()).spawn(move || self.run())?;
            queue.is_started = true;
        }
        Ok(queue)
    }

    fn run(&self) {
        let mut queue = self.queue();
        loop {
            let now = Instant::now();
            if let Some(entry) = queue.take_due(now) {
                drop(queue);
                entry.scheduler.commit(entry.event);
                // The owner may have ended meanwhile, and this may have been the last reference.
                drop(entry);
                queue = self.queue();
                continue;
            }
            queue.wakes = queue.first();
            queue = match queue.wakes {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = self.changed.wait_timeout(queue, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::Connection;

    #[test]
    fn alarms_ring_in_the_order_of_their_times() {
        let mut queue = Queue::new();
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        for (millis, entry) in [(30, "c"), (10, "a"), (20, "b"), (10, "a2")] {
            queue.insert(at(millis), entry);
        }
        assert_eq!((queue.first(), queue.take_due(now)), (Some(at(10)), None));
        assert_eq!(
            [queue.take_due(at(10)), queue.take_due(at(10)), queue.take_due(at(10))],
            [Some("a"), Some("a2"), None]
        );
        assert_eq!([queue.take_due(at(99)), queue.take_due(at(99))], [Some("b"), Some("c")]);
        assert_eq!((queue.first(), queue.take_due(at(99))), (None, None));
    }

    #[test]
    fn only_alarms_before_all_others_wake_the_thread() {
        let mut queue = Queue::<()>::new();
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        assert!(queue.wake_before(at(30)), "the thread sleeps without a limit");
        assert!(!queue.wake_before(at(30)) && !queue.wake_before(at(40)), "it wakes early enough");
        assert!(queue.wake_before(at(20)));
        assert!(!queue.wake_before(at(20)), "it was notified");
        assert!(queue.wake_before(at(10)));
    }

    #[test]
    fn an_alarm_is_one_entry_and_ends_with_its_owner() {
        let stream = Connection::default();
        let mut alarm = Alarm::of_stream(stream.pointer()).unwrap();
        let hour = Duration::from_secs(3_600);
        alarm.set(hour, 1).unwrap();
        let set = alarm.set.unwrap();
        alarm.set(hour * 2, 1).unwrap();
        assert_eq!(alarm.set, Some(set), "the earlier one stays");
        alarm.set(hour / 2, 1).unwrap();
        let earlier = alarm.set.unwrap();
        let has = |key| TIMER.queue().entries.contains_key(&key);
        assert!(!has(set) && has(earlier));
        drop(alarm);
        assert!(!has(earlier));
        assert_eq!(stream.schedulers(), (1, 1), "it was deleted");
    }

    #[test]
    fn passes_events_to_streams_until_they_end() {
        let stream = Connection::default();
        let mut alarm = Alarm::of_stream(stream.pointer()).unwrap();
        alarm.set(Duration::from_millis(5), 7).unwrap();
        assert_eq!(stream.next_event(), Some(7));
        alarm.set(Duration::ZERO, 8).unwrap();
        assert_eq!(stream.next_event(), Some(8));
        let scheduler = Arc::clone(&alarm.scheduler);
        drop(alarm);
        // As from the timer's thread, which took the alarm before its owner ended.
        scheduler.commit(9);
        assert_eq!(stream.events(), 0, "a deleted scheduler is not used");
    }
}
