//! The last thing a signature passes. After [`Gate::close`] returns, nothing in its scope is handed
//! to any connection, whether stored, fresh, or already recorded.
//!
//! A reply takes the gate for reading when its message is pulled for sending, and keeps it until
//! the end of that poll, in which the connection puts the bytes into its send buffer. A stop takes
//! it for writing, so it waits for hand-overs under way (microseconds) and no new one can begin.
//!
//! A peer that leaves no room in its window makes hyper keep the bytes for a later poll. They are
//! not handed over yet: that poll takes the gate again first, and if a stop covers one of them, the
//! whole reply is dropped instead of being polled.
//!
//! What a stop found waiting is withheld for good, also when the stop is thawed before anybody
//! looks at it again: its acknowledgement has said so. Whoever asked may ask again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::lock_api::ArcRwLockReadGuard;
use parking_lot::{Mutex, RawRwLock, RwLock};
use portcullis_policy::id::{CallerId, KeyId, Sequence, Tag};
use portcullis_policy::stops::{Scope, Stops, Subject};

/// The gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    barrier: Arc<RwLock<Barrier>>,
    /// Stops that closed the gate and have no record yet: nothing opens it to them.
    unrecorded: Arc<Mutex<BTreeMap<Scope, usize>>>,
    traffic: Arc<Mutex<Traffic>>,
}

/// What is stopped, and what a quorum lets through all the same.
#[derive(Debug, Default)]
struct Barrier {
    stops: Stops,
    drains: BTreeMap<KeyId, Drained>,
}

/// A key that is drained although it is stopped.
#[derive(Clone, Debug)]
pub struct Drained {
    /// The record that began it: what was recorded before that is not let through.
    pub from: Sequence,
    /// The key's tags.
    pub tags: BTreeSet<Tag>,
}

impl Barrier {
    /// The stop that keeps a signature back, if one does.
    fn covering(&self, who: &Who, recorded: Sequence) -> Option<&Scope> {
        let drained = self.drains.get(&who.key).filter(|drained| recorded > drained.from);
        match drained {
            Some(_) => self.stops.covering_caller(&who.caller),
            None => self.stops.covering(&who.subject()),
        }
    }
}

/// What passed and what waits.
#[derive(Debug, Default)]
struct Traffic {
    waiting: BTreeMap<Sequence, Arc<Waiting>>,
    released: BTreeMap<Arc<Who>, Sequence>,
}

/// A recorded signature that is not handed over.
#[derive(Debug)]
struct Waiting {
    who: Arc<Who>,
    /// The first stop that found it so. Set under the gate's writing lock, and read under it.
    withheld: OnceLock<Scope>,
}

impl Traffic {
    /// Call it under the gate's writing lock.
    fn withhold(&self, scope: &Scope) -> BTreeSet<Sequence> {
        let waiting = self.waiting.iter().filter(|(_, one)| one.who.subject().is_in(scope));
        let withheld = waiting.map(|(sequence, one)| {
            one.withheld.get_or_init(|| scope.clone());
            *sequence
        });
        withheld.collect()
    }
}

/// Whose signature it is, as far as stops can tell.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Who {
    /// The caller it is for.
    pub caller: CallerId,
    /// The key.
    pub key: KeyId,
    /// The key's tags.
    pub tags: BTreeSet<Tag>,
}

impl Who {
    fn subject(&self) -> Subject<'_> {
        Subject { key: self.key, tags: &self.tags, caller: &self.caller }
    }
}

/// What a stop found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closed {
    /// The last signature in scope that was released; of those that an earlier process recorded,
    /// the last that may have been.
    pub last_released: Sequence,
    /// Recorded signatures in scope that were not released, and now are not: their records.
    pub unreleased: BTreeSet<Sequence>,
}

impl Gate {
    /// A gate with these stops already in force, these keys drained, and what may have been
    /// released already.
    pub fn with(
        stops: &Stops,
        drains: BTreeMap<KeyId, Drained>,
        released: impl Iterator<Item = (Arc<Who>, Sequence)>,
    ) -> Self {
        let gate = Self::default();
        *gate.barrier.write() = Barrier { stops: stops.clone(), drains };
        gate.traffic.lock().released.extend(released);
        gate
    }

    /// Stops a scope, and ends every drain in it: at once, in memory. Its record comes after, and
    /// until [`Gate::recorded`] says so, a thaw of an earlier stop does not open the gate again.
    pub fn close(&self, scope: &Scope) -> Closed {
        let mut barrier = self.barrier.write();
        let mut unrecorded = self.unrecorded.lock();
        let count = unrecorded.entry(scope.clone()).or_default();
        *count = count.saturating_add(1);
        drop(unrecorded);
        barrier.stops.add(scope.clone());
        barrier.drains.retain(|key, drained| !scope.covers_key(*key, &drained.tags));
        let traffic = self.traffic.lock();
        let released = traffic.released.iter().filter(|(who, _)| who.subject().is_in(scope));
        let last_released = released.map(|(_, at)| *at).max().unwrap_or_default();
        Closed { last_released, unreleased: traffic.withhold(scope) }
    }

    /// Withholds for good what a stop finds recorded and not released by the time it is recorded
    /// itself: their records.
    pub fn withhold(&self, scope: &Scope) -> BTreeSet<Sequence> {
        let _nothing_is_handed_over_meanwhile = self.barrier.write();
        self.traffic.lock().withhold(scope)
    }

    /// A stop that closed the gate has its place in the order: whatever thaws it comes after.
    pub fn recorded(&self, scope: &Scope) {
        let mut unrecorded = self.unrecorded.lock();
        let left = unrecorded.get(scope).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            unrecorded.remove(scope);
        } else {
            unrecorded.insert(scope.clone(), left);
        }
    }

    /// Opens the gate again to exactly this scope, if no newer stop of it is on its way into the
    /// journal. Call it when the thaw's record is durable.
    pub fn open(&self, scope: &Scope) {
        let mut barrier = self.barrier.write();
        if let Scope::Key(key) = scope {
            barrier.drains.remove(key);
        }
        if !self.unrecorded.lock().contains_key(scope) {
            barrier.stops.remove(scope);
        }
    }

    /// Lets through what a stopped key signs from now on, if no stop of it is on its way into the
    /// journal: such a stop has ended the drain. Call it when the drain's record is durable.
    pub fn drain(&self, key: KeyId, drained: Drained) {
        let mut barrier = self.barrier.write();
        let unrecorded = self.unrecorded.lock();
        if !unrecorded.keys().any(|scope| scope.covers_key(key, &drained.tags)) {
            barrier.drains.insert(key, drained);
        }
    }

    /// Lets nothing through any more of keys that are not drained any longer.
    pub fn keep_drains(&self, is_drained: impl Fn(KeyId) -> bool) {
        self.barrier.write().drains.retain(|key, _| is_drained(*key));
    }

    /// A recorded signature's place at the gate.
    pub fn ticket(&self, who: Arc<Who>, sequence: Sequence) -> Arc<Ticket> {
        let waiting = Arc::new(Waiting { who, withheld: OnceLock::new() });
        self.traffic.lock().waiting.insert(sequence, waiting.clone());
        Arc::new(Ticket { gate: self.clone(), waiting, sequence })
    }

    /// Stops in force.
    pub fn stops(&self) -> Stops {
        self.barrier.read().stops.clone()
    }
}

/// A recorded signature that waits to be sent.
#[derive(Debug)]
pub struct Ticket {
    gate: Gate,
    waiting: Arc<Waiting>,
    sequence: Sequence,
}

/// A stop that covers a signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("stopped: {0}")]
pub struct Stopped(pub Scope);

impl Ticket {
    /// Hands the signature over, unless a stop covers it. Call it from inside the poll in which the
    /// bytes are pulled by the connection, and from nowhere else: the gate is held until that poll
    /// ends. Outside of such a poll the answer is always no.
    pub fn pass(self: Arc<Self>) -> Result<(), Stopped> {
        HELD.with_borrow_mut(|held| {
            let Held::During(poll) = held else { return Err(Stopped(Scope::All)) };
            match self.stop_in(poll.barrier(&self.gate)) {
                Some(scope) => Err(Stopped(scope.clone())),
                None => {
                    poll.passed.push(self);
                    Ok(())
                }
            }
        })
    }

    /// The stop that keeps it: one in force, or one that found it waiting.
    fn stop_in<'a>(&'a self, barrier: &'a Barrier) -> Option<&'a Scope> {
        let in_force = barrier.covering(&self.waiting.who, self.sequence);
        in_force.or_else(|| self.waiting.withheld.get())
    }

    /// The record's place in the journal.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    fn released(&self) {
        let mut traffic = self.gate.traffic.lock();
        traffic.waiting.remove(&self.sequence);
        let last = traffic.released.entry(self.waiting.who.clone()).or_default();
        *last = self.sequence.max(*last);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.traffic.lock().waiting.remove(&self.sequence);
    }
}

type Guard = ArcRwLockReadGuard<RawRwLock, Barrier>;

/// Says that whatever passed in this poll, or in those before it, is now in the connection's send
/// buffer. The body that the connection pulls from must call it first thing whenever it is polled:
/// a connection pulls again only after it has taken what it pulled before.
pub fn handed_over() {
    HELD.with_borrow_mut(|held| match held {
        Held::Outside => {}
        Held::During(poll) => poll.passed.drain(..).for_each(|ticket| ticket.released()),
    });
}

/// Whether this thread is inside a poll that ends by releasing the gate, and what it holds.
enum Held {
    Outside,
    During(ThisPoll),
}

#[derive(Default)]
struct ThisPoll {
    guard: Option<Guard>,
    /// Passed, and perhaps not yet in a send buffer.
    passed: Vec<Arc<Ticket>>,
}

impl ThisPoll {
    /// What is stopped, which does not change before the poll ends.
    fn barrier(&mut self, gate: &Gate) -> &Barrier {
        let ours = |guard: &Guard| Arc::ptr_eq(ArcRwLockReadGuard::rwlock(guard), &gate.barrier);
        // A second signature in the same poll goes out under the same guard: taking the lock twice
        // would wait for ever behind a stop that waits for the first.
        let kept = self.guard.take().filter(ours);
        self.guard.insert(kept.unwrap_or_else(|| gate.barrier.read_arc()))
    }

    /// Whether a stop keeps what passed in an earlier poll and was not handed over in it.
    fn is_stopped(&mut self) -> bool {
        let passed = std::mem::take(&mut self.passed);
        let stopped =
            passed.iter().any(|ticket| ticket.stop_in(self.barrier(&ticket.gate)).is_some());
        self.passed = passed;
        stopped
    }
}

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held::Outside) };
}

/// Runs a connection's futures so that the gate, once taken in a poll, is held to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct GatedExecutor;

impl<F> hyper::rt::Executor<F> for GatedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(UntilEndOfPoll::new(future));
    }
}

/// A reply under way, whose every poll ends by letting go of the gate.
#[derive(Debug)]
pub struct UntilEndOfPoll<F> {
    /// `None` once it ended, or was dropped because of a stop.
    future: Option<Pin<Box<F>>>,
    /// What passed the gate, and may still wait for room in the peer's window.
    carried: Vec<Arc<Ticket>>,
}

impl<F: Future> UntilEndOfPoll<F> {
    /// Wraps a future.
    pub fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), carried: Vec::new() }
    }
}

impl<F: Future> Future for UntilEndOfPoll<F> {
    type Output = Option<F::Output>;

    /// `None` if a stop came between a signature's pull and its hand-over.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let end = EndOfPoll::begin(std::mem::take(&mut this.carried));
        if end.is_stopped() {
            this.future = None;
        }
        let Some(future) = &mut this.future else { return Poll::Ready(None) };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            // Under the gate: whoever closes it next must find these among the released.
            handed_over();
            this.future = None;
        } else {
            this.carried = end.not_handed_over();
        }
        polled.map(Some)
    }
}

/// Lets go of the gate when dropped, also when the poll panics.
struct EndOfPoll;

impl EndOfPoll {
    fn begin(passed: Vec<Arc<Ticket>>) -> Self {
        HELD.set(Held::During(ThisPoll { guard: None, passed }));
        Self
    }

    fn is_stopped(&self) -> bool {
        HELD.with_borrow_mut(|held| match held {
            Held::Outside => false,
            Held::During(poll) => poll.is_stopped(),
        })
    }

    fn not_handed_over(&self) -> Vec<Arc<Ticket>> {
        HELD.with_borrow_mut(|held| match held {
            Held::Outside => Vec::new(),
            Held::During(poll) => std::mem::take(&mut poll.passed),
        })
    }
}

impl Drop for EndOfPoll {
    fn drop(&mut self) {
        drop(HELD.replace(Held::Outside));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn who(caller: &str) -> Arc<Who> {
        let key = KeyId::from_bytes([7; 16]);
        Arc::new(Who { caller: caller.parse().unwrap(), key, tags: BTreeSet::new() })
    }

    fn found(last_released: u64, unreleased: &[u64]) -> Closed {
        let unreleased = unreleased.iter().map(|one| Sequence(*one)).collect();
        Closed { last_released: Sequence(last_released), unreleased }
    }

    fn in_a_poll<T>(work: impl FnOnce() -> T) -> T {
        let _end = EndOfPoll::begin(Vec::new());
        let said = work();
        handed_over();
        said
    }

    /// A connection that pulls a signature in its first poll, and has room for it in its second.
    fn late(ticket: &Arc<Ticket>, sent: &Arc<AtomicBool>) -> impl Future<Output = ()> + use<> {
        let (ticket, sent, mut pulled) = (ticket.clone(), sent.clone(), false);
        std::future::poll_fn(move |_| {
            if !std::mem::replace(&mut pulled, true) {
                handed_over();
                ticket.clone().pass().unwrap();
                return Poll::Pending;
            }
            sent.store(true, Ordering::SeqCst);
            Poll::Ready(())
        })
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn a_signature_that_waits_for_room_in_the_window_is_dropped_by_a_stop_that_comes_meanwhile() {
        let (gate, sent) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let ticket = gate.ticket(who("a"), Sequence(5));
        let mut reply = std::pin::pin!(UntilEndOfPoll::new(late(&ticket, &sent)));
        assert!(poll(reply.as_mut()).is_pending());
        let closed = gate.close(&Scope::Caller("a".parse().unwrap()));
        assert_eq!(closed, found(0, &[5]));
        assert_eq!(poll(reply.as_mut()), Poll::Ready(None));
        assert!(!sent.load(Ordering::SeqCst));
    }

    #[test]
    fn a_signature_that_waits_for_room_goes_out_if_no_stop_covers_it_and_counts_then() {
        let (gate, sent) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let ticket = gate.ticket(who("a"), Sequence(5));
        let mut reply = std::pin::pin!(UntilEndOfPoll::new(late(&ticket, &sent)));
        assert!(poll(reply.as_mut()).is_pending());
        gate.close(&Scope::Caller("b".parse().unwrap()));
        assert_eq!(poll(reply.as_mut()), Poll::Ready(Some(())));
        assert!(sent.load(Ordering::SeqCst));
        let closed = gate.close(&Scope::All);
        assert_eq!(closed, found(5, &[]));
    }

    #[test]
    fn what_is_recorded_between_a_stop_and_its_record_is_withheld_for_good() {
        let (gate, scope) = (Gate::default(), Scope::Caller("a".parse().unwrap()));
        assert_eq!(gate.close(&scope), found(0, &[]));
        let late = gate.ticket(who("a"), Sequence(5));
        assert_eq!(gate.withhold(&scope), [Sequence(5)].into());
        gate.recorded(&scope);
        gate.open(&scope);
        assert_eq!(in_a_poll(|| late.clone().pass()), Err(Stopped(scope)));
    }

    #[test]
    fn a_drain_lets_out_what_is_recorded_after_it_and_nothing_from_before() {
        let key = KeyId::from_bytes([7; 16]);
        let gate = Gate::default();
        let drained = Drained { from: Sequence(6), tags: BTreeSet::new() };
        let passes = |at| in_a_poll(|| gate.ticket(who("a"), Sequence(at)).pass()).is_ok();
        for scope in [Scope::All, Scope::Key(key)] {
            gate.close(&scope);
            gate.recorded(&scope);
        }
        gate.drain(key, drained.clone());
        assert!(!passes(5), "recorded before the drain: by the key's own rules");
        assert!(!passes(6), "at it");
        assert!(passes(7));
        // Whoever is stopped themselves gets nothing; a stop of another key changes nothing.
        let caller = Scope::Caller("a".parse().unwrap());
        gate.close(&caller);
        gate.recorded(&caller);
        assert!(!passes(8));
        gate.open(&caller);
        gate.close(&Scope::Key(KeyId::from_bytes([8; 16])));
        assert!(passes(9));
        // A stop ends it at once, and until that is in the journal no drain begins.
        gate.close(&Scope::Key(key));
        assert!(!passes(10));
        gate.drain(key, drained.clone());
        assert!(!passes(11), "begun over a stop that is on its way into the journal");
        gate.recorded(&Scope::Key(key));
        gate.drain(key, drained.clone());
        assert!(passes(12));
        gate.keep_drains(|_| false);
        assert!(!passes(13));
        // A thaw of the key's own stop ends it too: other stops hold again.
        gate.drain(key, drained);
        gate.open(&Scope::Key(key));
        assert!(!passes(14), "everything is stopped");
    }

    #[test]
    fn nothing_in_scope_passes_after_close_has_returned() {
        let gate = Gate::default();
        let ours = gate.ticket(who("a"), Sequence(5));
        let other = gate.ticket(who("b"), Sequence(6));
        let closed = gate.close(&Scope::Caller("a".parse().unwrap()));
        assert_eq!(closed, found(0, &[5]));
        assert!(in_a_poll(|| ours.clone().pass()).is_err());
        assert!(in_a_poll(|| other.clone().pass()).is_ok());
    }

    #[test]
    fn a_stop_waits_for_a_hand_over_under_way_and_counts_it_as_released() {
        let gate = Gate::default();
        let ticket = gate.ticket(who("a"), Sequence(9));
        let (stopping, stopped) = mpsc::channel();
        in_a_poll(|| {
            ticket.clone().pass().unwrap();
            let gate = gate.clone();
            std::thread::spawn(move || stopping.send(gate.close(&Scope::All)));
            // Still inside the poll: the stop cannot have been acknowledged.
            let early = stopped.recv_timeout(std::time::Duration::from_millis(100));
            assert!(early.is_err(), "acknowledged while a hand-over was under way");
        });
        let closed = stopped.recv().unwrap();
        assert_eq!(closed, found(9, &[]));
    }

    #[test]
    fn two_signatures_in_one_poll_do_not_deadlock_behind_a_stop() {
        let gate = Gate::default();
        let first = gate.ticket(who("a"), Sequence(1));
        let second = gate.ticket(who("a"), Sequence(2));
        let stop = in_a_poll(|| {
            first.clone().pass().unwrap();
            let closing = gate.clone();
            let stop = std::thread::spawn(move || closing.close(&Scope::All));
            std::thread::sleep(std::time::Duration::from_millis(50));
            second.clone().pass().unwrap();
            stop
        });
        assert_eq!(stop.join().unwrap().last_released, Sequence(2));
        let third = gate.ticket(who("a"), Sequence(3));
        assert!(in_a_poll(|| third.clone().pass()).is_err());
    }

    #[test]
    fn a_thaw_opens_exactly_the_scope_that_it_names() {
        let gate = Gate::default();
        gate.close(&Scope::All);
        gate.close(&Scope::Caller("a".parse().unwrap()));
        gate.recorded(&Scope::All);
        gate.recorded(&Scope::Caller("a".parse().unwrap()));
        gate.open(&Scope::All);
        let (ours, other) =
            (gate.ticket(who("a"), Sequence(1)), gate.ticket(who("b"), Sequence(2)));
        assert!(in_a_poll(|| ours.clone().pass()).is_err());
        assert!(in_a_poll(|| other.clone().pass()).is_ok());
    }

    #[test]
    fn a_thaw_does_not_open_the_gate_to_a_stop_that_is_on_its_way_into_the_journal() {
        let gate = Gate::default();
        gate.close(&Scope::All);
        gate.recorded(&Scope::All);
        // A second stop of the same scope, while the thaw of the first is being written.
        gate.close(&Scope::All);
        gate.open(&Scope::All);
        let ticket = gate.ticket(who("a"), Sequence(1));
        assert!(in_a_poll(|| ticket.clone().pass()).is_err());
        gate.recorded(&Scope::All);
        assert!(in_a_poll(|| ticket.clone().pass()).is_err(), "recorded, and still a stop");
    }

    #[test]
    fn what_a_stop_found_waiting_stays_withheld_when_it_is_thawed() {
        let (gate, sent) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let scope = Scope::Caller("a".parse().unwrap());
        let (waiting, pulled) =
            (gate.ticket(who("a"), Sequence(5)), gate.ticket(who("a"), Sequence(6)));
        let mut reply = std::pin::pin!(UntilEndOfPoll::new(late(&pulled, &sent)));
        assert!(poll(reply.as_mut()).is_pending());
        assert_eq!(gate.close(&scope), found(0, &[5, 6]));
        gate.recorded(&scope);
        gate.open(&scope);
        assert_eq!(in_a_poll(|| waiting.clone().pass()), Err(Stopped(scope)));
        assert_eq!(poll(reply.as_mut()), Poll::Ready(None));
        assert!(!sent.load(Ordering::SeqCst));
        // What is recorded after the thaw is nobody's to keep.
        let fresh = gate.ticket(who("a"), Sequence(9));
        assert!(in_a_poll(|| fresh.clone().pass()).is_ok());
    }

    #[test]
    fn outside_of_a_gated_poll_nothing_passes() {
        let gate = Gate::default();
        let ticket = gate.ticket(who("a"), Sequence(1));
        assert!(ticket.clone().pass().is_err());
    }
}
