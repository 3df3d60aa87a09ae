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

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::lock_api::ArcRwLockReadGuard;
use parking_lot::{Mutex, RawRwLock, RwLock};
use portcullis_policy::id::{CallerId, KeyId, Sequence, Tag};
use portcullis_policy::stops::{Scope, Stops, Subject};

/// The gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    stops: Arc<RwLock<Stops>>,
    /// Stops that closed the gate and have no record yet: nothing opens it to them.
    unrecorded: Arc<Mutex<BTreeMap<Scope, usize>>>,
    traffic: Arc<Mutex<Traffic>>,
}

/// What passed and what waits.
#[derive(Debug, Default)]
struct Traffic {
    waiting: BTreeMap<Sequence, Arc<Who>>,
    released: BTreeMap<Arc<Who>, Sequence>,
}

impl Traffic {
    fn waiting_in(&self, scope: &Scope) -> impl Iterator<Item = Sequence> {
        let waiting = self.waiting.iter().filter(|(_, who)| who.subject().is_in(scope));
        waiting.map(|(sequence, _)| *sequence)
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
    /// A gate with these stops already in force, and what may have been released already.
    pub fn with(stops: &Stops, released: impl Iterator<Item = (Arc<Who>, Sequence)>) -> Self {
        let gate = Self::default();
        *gate.stops.write() = stops.clone();
        gate.traffic.lock().released.extend(released);
        gate
    }

    /// Stops a scope: at once, in memory. Its record comes after, and until [`Gate::recorded`] says
    /// so, a thaw of an earlier stop does not open the gate again.
    pub fn close(&self, scope: &Scope) -> Closed {
        let mut stops = self.stops.write();
        let mut unrecorded = self.unrecorded.lock();
        let count = unrecorded.entry(scope.clone()).or_default();
        *count = count.saturating_add(1);
        drop(unrecorded);
        stops.add(scope.clone());
        let traffic = self.traffic.lock();
        let released = traffic.released.iter().filter(|(who, _)| who.subject().is_in(scope));
        Closed {
            last_released: released.map(|(_, at)| *at).max().unwrap_or_default(),
            unreleased: traffic.waiting_in(scope).collect(),
        }
    }

    /// Recorded signatures in a scope that were not released: their records. Behind a stop they are
    /// not released any more.
    pub fn unreleased(&self, scope: &Scope) -> BTreeSet<Sequence> {
        self.traffic.lock().waiting_in(scope).collect()
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
        let mut stops = self.stops.write();
        if !self.unrecorded.lock().contains_key(scope) {
            stops.remove(scope);
        }
    }

    /// A recorded signature's place at the gate.
    pub fn ticket(&self, who: Arc<Who>, sequence: Sequence) -> Arc<Ticket> {
        self.traffic.lock().waiting.insert(sequence, who.clone());
        Arc::new(Ticket { gate: self.clone(), who, sequence })
    }

    /// Stops in force.
    pub fn stops(&self) -> Stops {
        self.stops.read().clone()
    }
}

/// A recorded signature that waits to be sent.
#[derive(Debug)]
pub struct Ticket {
    gate: Gate,
    who: Arc<Who>,
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
            match poll.stops(&self.gate).covering(&self.who.subject()) {
                Some(scope) => Err(Stopped(scope.clone())),
                None => {
                    poll.passed.push(self);
                    Ok(())
                }
            }
        })
    }

    /// The record's place in the journal.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    fn released(&self) {
        let mut traffic = self.gate.traffic.lock();
        traffic.waiting.remove(&self.sequence);
        let last = traffic.released.entry(self.who.clone()).or_default();
        *last = self.sequence.max(*last);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.traffic.lock().waiting.remove(&self.sequence);
    }
}

type Guard = ArcRwLockReadGuard<RawRwLock, Stops>;

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
    /// The stops in force, which do not change before the poll ends.
    fn stops(&mut self, gate: &Gate) -> &Stops {
        let ours = |guard: &Guard| Arc::ptr_eq(ArcRwLockReadGuard::rwlock(guard), &gate.stops);
        // A second signature in the same poll goes out under the same guard: taking the lock twice
        // would wait for ever behind a stop that waits for the first.
        let kept = self.guard.take().filter(ours);
        self.guard.insert(kept.unwrap_or_else(|| gate.stops.read_arc()))
    }

    /// Whether a stop covers what passed in an earlier poll and was not handed over in it.
    fn is_stopped(&mut self) -> bool {
        let passed = std::mem::take(&mut self.passed);
        let stopped = passed
            .iter()
            .any(|ticket| self.stops(&ticket.gate).covering(&ticket.who.subject()).is_some());
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
    fn outside_of_a_gated_poll_nothing_passes() {
        let gate = Gate::default();
        let ticket = gate.ticket(who("a"), Sequence(1));
        assert!(ticket.clone().pass().is_err());
    }
}
