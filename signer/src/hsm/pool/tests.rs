//! The pool with sessions that do what a test tells them: no token.

#![allow(clippy::arithmetic_side_effects, reason = "test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// A session that only knows how many were opened before it, and hangs while it is closed if told.
struct Fake(usize, Option<Arc<AtomicBool>>);

impl Drop for Fake {
    fn drop(&mut self) {
        while self.1.as_ref().is_some_and(|hanging| hanging.load(Ordering::SeqCst)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Opens fakes, or refuses to.
#[derive(Clone, Default)]
struct Factory {
    opened: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    hanging: Arc<AtomicBool>,
}

impl Factory {
    fn open(&self) -> Result<Fake, HsmError> {
        while self.hanging.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.held.load(Ordering::SeqCst) {
            return Err(HsmError::ModuleHeld { inside: 1 });
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(HsmError::Unavailable);
        }
        Ok(Fake(self.opened.fetch_add(1, Ordering::SeqCst), None))
    }
}

fn sizes(workers: usize, deadline: Duration) -> Sizes {
    Sizes { name: "test", workers, queue_max: 4, stuck_max: 1, deadline }
}

fn start(sizes: &Sizes) -> (Pool<Fake>, Factory) {
    let factory = Factory::default();
    let first = factory.open().unwrap();
    let opener = factory.clone();
    (Pool::start(sizes, first, move || opener.open()).unwrap(), factory)
}

/// Waits for something that other threads are about to do.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A job that hangs until it is let go; says when it has begun.
fn hang() -> (impl FnOnce(&mut Fake) -> (usize, After) + Send, mpsc::Receiver<()>, mpsc::Sender<()>)
{
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let job = move |fake: &mut Fake| {
        begin.send(()).unwrap();
        released.recv().unwrap();
        (fake.0, After::Keep)
    };
    (job, begun, release)
}

const SHORT: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_good_session_is_used_again_and_a_bad_one_is_replaced() {
    let (pool, factory) = start(&sizes(1, LONG));
    for _ in 0..3 {
        assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(0));
    }
    let discard = |fake: &mut Fake| (fake.0, After::Discard("because".to_owned()));
    assert_eq!(pool.run(discard).await, Ok(0));
    until(|| pool.census().usable == 1 && factory.opened.load(Ordering::SeqCst) == 2).await;
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(1));
    assert_eq!(pool.census().trouble.as_deref(), Some("because"));
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_dropped_and_its_thread_replaced() {
    let (pool, _factory) = start(&sizes(1, SHORT));
    let (job, _begun, release) = hang();
    assert_eq!(pool.run(job).await, Err(PoolFault::TimedOut));
    until(|| pool.census().usable == 1).await;
    let census = pool.census();
    assert_eq!((census.stuck, census.late, census.workers), (1, 0, 1));
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(1));

    release.send(()).unwrap();
    until(|| pool.census().late == 1).await;
    let census = pool.census();
    assert_eq!((census.stuck, census.workers, census.usable), (0, 1, 1));
}

#[tokio::test]
async fn a_job_whose_turn_never_came_is_never_run() {
    let (pool, _factory) = start(&sizes(1, SHORT));
    let (job, begun, release) = hang();
    let ran = Arc::new(AtomicBool::new(false));
    let second = {
        let ran = Arc::clone(&ran);
        move |_: &mut Fake| (ran.store(true, Ordering::SeqCst), After::Keep)
    };
    // The first is never given up here, so that its thread is not replaced.
    let watched = {
        let (answer, answered) = oneshot::channel();
        let ticket = Arc::new(Ticket::new(LONG));
        let work = Box::new(move |fake: &mut Fake| {
            answer.send(job(fake).0).unwrap();
            After::Keep
        });
        pool.shared.push(&Lane::default(), Job { work, ticket }).unwrap();
        answered
    };
    begun.recv().unwrap();
    assert_eq!(pool.run(second).await, Err(PoolFault::Full));
    release.send(()).unwrap();
    assert_eq!(watched.await, Ok(0));
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(0));
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_queue_longer_than_the_deadline_makes_no_thread_look_stuck() {
    const JOBS: usize = 20;
    const SLOW: Duration = Duration::from_millis(130);
    let deadline = Duration::from_secs(1);
    let (pool, _factory) = start(&Sizes { queue_max: JOBS, ..sizes(1, deadline) });
    let (pool, ran) = (Arc::new(pool), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..JOBS)
        .map(|_| {
            let (pool, ran) = (Arc::clone(&pool), Arc::clone(&ran));
            let job = move |_: &mut Fake| {
                std::thread::sleep(SLOW);
                (ran.fetch_add(1, Ordering::SeqCst), After::Keep)
            };
            tokio::spawn(async move { pool.run(job).await })
        })
        .collect();
    let mut done = 0;
    for job in jobs {
        match job.await.unwrap() {
            Ok(_) => done += 1,
            Err(fault) => assert_eq!(fault, PoolFault::Full),
        }
    }
    assert!(0 < done && done < JOBS, "the queue was not longer than the deadline: {done}");
    assert_eq!(ran.load(Ordering::SeqCst), done, "a job that was refused was run");
    let census = pool.census();
    assert_eq!((census.stuck, census.late, census.usable), (0, 0, 1));
}

#[tokio::test]
async fn a_job_that_is_popped_too_late_is_refused_and_not_begun() {
    let (pool, _factory) = start(&sizes(1, LONG));
    let (answer, answered) = oneshot::channel::<()>();
    let work = Box::new(move |_: &mut Fake| {
        answer.send(()).unwrap();
        After::Keep
    });
    let ticket = Arc::new(Ticket::new(Duration::ZERO));
    pool.shared.push(&Lane::default(), Job { work, ticket: Arc::clone(&ticket) }).unwrap();
    assert!(answered.await.is_err(), "it was begun");
    assert_eq!(why_dropped(&ticket), PoolFault::Full);
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(0));
}

#[tokio::test]
async fn one_job_more_than_the_queue_holds_is_refused_at_once() {
    let (pool, _factory) = start(&sizes(1, LONG));
    let pool = Arc::new(pool);
    let (job, begun, release) = hang();
    let run = |pool: &Arc<Pool<Fake>>| {
        let pool = Arc::clone(pool);
        tokio::spawn(async move { pool.run(|fake| (fake.0, After::Keep)).await })
    };
    let first = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.run(job).await })
    };
    until(|| begun.try_recv().is_ok()).await;
    let waiting: Vec<_> = (0..4).map(|_| run(&pool)).collect();
    until(|| pool.census().queued == 4).await;
    assert_eq!(run(&pool).await.unwrap(), Err(PoolFault::Full));
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(0));
    for job in waiting {
        assert_eq!(job.await.unwrap(), Ok(0));
    }
}

/// The lane of a caller of this name.
fn lane(caller: &str) -> Lane {
    Lane { caller: Some(caller.parse().unwrap()), key: None }
}

/// A pool whose one thread is busy, as long as the sender is kept.
async fn busy(queue_max: usize) -> (Arc<Pool<Fake>>, mpsc::Sender<()>) {
    let (pool, _factory) = start(&Sizes { queue_max, ..sizes(1, LONG) });
    let pool = Arc::new(pool);
    let (job, begun, release) = hang();
    let occupied = Arc::clone(&pool);
    tokio::spawn(async move { occupied.run(job).await });
    until(|| begun.try_recv().is_ok()).await;
    (pool, release)
}

type Ran = Arc<parking_lot::Mutex<Vec<String>>>;

/// Asks for a caller, and returns once the job waits or is refused.
async fn ask(
    pool: &Arc<Pool<Fake>>,
    caller: &'static str,
    ran: &Ran,
) -> tokio::task::JoinHandle<Result<(), PoolFault>> {
    let (asked, ran) = (Arc::clone(pool), Arc::clone(ran));
    let before = pool.census();
    let job = move |_: &mut Fake, _: &Turn| (ran.lock().push(caller.to_owned()), After::Keep);
    let task = tokio::spawn(async move { asked.run_for(&lane(caller), job).await });
    until(|| {
        let now = pool.census();
        (now.queued, now.shed) != (before.queued, before.shed)
    })
    .await;
    task
}

#[tokio::test]
async fn a_polite_caller_is_served_next_however_much_another_has_waiting() {
    let (pool, release) = busy(100).await;
    let ran = Ran::default();
    let mut asked = Vec::new();
    for _ in 0..50 {
        asked.push(ask(&pool, "flooder", &ran).await);
    }
    asked.push(ask(&pool, "polite", &ran).await);
    asked.push(ask(&pool, "polite", &ran).await);
    release.send(()).unwrap();
    for one in asked {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    let ran = ran.lock().clone();
    let polite = |(at, caller): (usize, &String)| (caller == "polite").then_some(at);
    let at: Vec<usize> = ran.iter().enumerate().filter_map(polite).collect();
    assert!(at.iter().all(|at| *at < 4), "{at:?}");
    assert_eq!(ran.len(), 52);
}

#[tokio::test]
async fn a_full_queue_turns_away_the_newest_of_whoever_has_most_in_it_and_says_overloaded() {
    let (pool, release) = busy(4).await;
    let ran = Ran::default();
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(ask(&pool, "flooder", &ran).await);
    }
    let fifth = ask(&pool, "flooder", &ran).await;
    assert_eq!(fifth.await.unwrap(), Err(PoolFault::Full), "it is the newest itself");
    let polite = [ask(&pool, "polite", &ran).await, ask(&pool, "polite", &ran).await];
    for _ in 0..2 {
        assert_eq!(flood.pop().unwrap().await.unwrap(), Err(PoolFault::Full));
    }
    let third = ask(&pool, "polite", &ran).await;
    assert_eq!(third.await.unwrap(), Err(PoolFault::Full), "it has its part of the queue");
    assert_eq!((pool.census().queued, pool.census().shed), (4, 4));
    release.send(()).unwrap();
    for served in flood.into_iter().chain(polite) {
        assert_eq!(served.await.unwrap(), Ok(()));
    }
    assert_eq!(ran.lock().len(), 4, "what was turned away was run");
}

#[tokio::test]
async fn a_job_that_is_too_late_costs_its_caller_no_turn() {
    let (pool, release) = busy(100).await;
    let ran = Ran::default();
    for _ in 0..3 {
        let work = Box::new(|_: &mut Fake| After::Keep);
        let ticket = Arc::new(Ticket::new(Duration::ZERO));
        pool.shared.push(&lane("a"), Job { work, ticket }).unwrap();
    }
    let asked =
        [ask(&pool, "a", &ran).await, ask(&pool, "b", &ran).await, ask(&pool, "b", &ran).await];
    release.send(()).unwrap();
    for one in asked {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!(*ran.lock(), ["a", "b", "b"]);
}

#[tokio::test]
async fn without_a_session_jobs_fail_at_once_and_it_comes_back_by_itself() {
    let (pool, factory) = start(&sizes(2, LONG));
    until(|| pool.census().usable == 2).await;
    factory.broken.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let lost = pool.run(|_| ((), After::Discard("gone".to_owned()))).await;
        assert_eq!(lost, Ok(()));
    }
    until(|| pool.census().usable == 0).await;
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Err(PoolFault::Unavailable));
    factory.broken.store(false, Ordering::SeqCst);
    until(|| pool.census().usable == 2).await;
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Ok(()));
}

#[tokio::test]
async fn what_waits_when_the_last_session_goes_is_answered_without_waiting_for_the_deadline() {
    let (pool, factory) = start(&sizes(1, LONG));
    let pool = Arc::new(pool);
    let (job, begun, release) = hang();
    let first = {
        let pool = Arc::clone(&pool);
        let job = move |fake: &mut Fake| (job(fake).0, After::Discard("gone".to_owned()));
        tokio::spawn(async move { pool.run(job).await })
    };
    until(|| begun.try_recv().is_ok()).await;
    let waiting = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.run(|fake| (fake.0, After::Keep)).await })
    };
    until(|| pool.census().queued == 1).await;
    factory.broken.store(true, Ordering::SeqCst);
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(waiting.await.unwrap(), Err(PoolFault::Unavailable));
}

#[tokio::test]
async fn a_panic_in_a_job_costs_a_session_and_no_thread() {
    let (pool, factory) = start(&sizes(1, LONG));
    let panics = pool.run(|_| -> ((), After) { panic!("foreign code") }).await;
    assert_eq!(panics, Err(PoolFault::Unavailable));
    until(|| pool.census().usable == 1 && factory.opened.load(Ordering::SeqCst) == 2).await;
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(1));
    assert_eq!(pool.census().workers, 1);
}

#[tokio::test]
async fn admission_closes_when_more_threads_are_stuck_than_are_replaced() {
    let (pool, _factory) = start(&sizes(1, SHORT));
    let (first, _begun, release_first) = hang();
    assert_eq!(pool.run(first).await, Err(PoolFault::TimedOut));
    until(|| pool.census().usable == 1).await;
    let (second, _begun, release_second) = hang();
    assert_eq!(pool.run(second).await, Err(PoolFault::TimedOut));
    assert_eq!(pool.census().stuck, 2);
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Err(PoolFault::Unavailable));

    // Either one that returns takes up the work again.
    release_first.send(()).unwrap();
    until(|| pool.census().usable == 1).await;
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Ok(()));
    release_second.send(()).unwrap();
    until(|| pool.census().stuck == 0).await;
    let census = pool.census();
    assert_eq!((census.workers, census.usable, census.late), (1, 1, 2));
}

#[tokio::test]
async fn a_stuck_thread_is_noticed_even_if_nobody_waits_for_it_any_more() {
    let (pool, _factory) = start(&sizes(1, SHORT));
    let (job, begun, release) = hang();
    let mut asked = Box::pin(pool.run(job));
    let pending = std::future::poll_fn(|context| {
        std::task::Poll::Ready(asked.as_mut().poll(context).is_pending())
    });
    assert!(pending.await);
    begun.recv().unwrap();
    drop(asked);
    until(|| pool.census().stuck == 1 && pool.census().usable == 1).await;
    release.send(()).unwrap();
    until(|| pool.census().late == 1).await;
}

#[tokio::test]
async fn a_closed_pool_finishes_what_is_queued_and_its_threads_end() {
    let (pool, _factory) = start(&sizes(1, LONG));
    let pool = Arc::new(pool);
    let (job, begun, release) = hang();
    let first = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.run(job).await })
    };
    until(|| begun.try_recv().is_ok()).await;
    let queued = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.run(|fake| (fake.0, After::Keep)).await })
    };
    until(|| pool.census().queued == 1).await;
    pool.close();
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Err(PoolFault::Closed));
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(queued.await.unwrap(), Ok(0));
    until(|| pool.census().workers == 0).await;
}

/// A pool of one thread whose session is gone and whose next one is not opened.
async fn hanging_in_opening() -> (Pool<Fake>, Factory) {
    let (pool, factory) = start(&sizes(1, SHORT));
    factory.hanging.store(true, Ordering::SeqCst);
    assert_eq!(pool.run(|_| ((), After::Discard("gone".to_owned()))).await, Ok(()));
    until(|| pool.census().stuck == 1).await;
    (pool, factory)
}

#[tokio::test]
async fn an_opening_that_hangs_is_stuck_and_tried_again_within_the_bound() {
    let (pool, factory) = hanging_in_opening().await;
    until(|| pool.census().stuck == 2).await;
    let too_many = HsmError::TooManyStuck.to_string();
    until(|| pool.census().trouble.as_ref() == Some(&too_many)).await;
    let census = pool.census();
    assert_eq!((census.stuck, census.usable, census.workers), (2, 0, 1));
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Err(PoolFault::Unavailable));

    factory.hanging.store(false, Ordering::SeqCst);
    until(|| pool.census().stuck == 0 && pool.census().usable == 1).await;
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Ok(()));
    assert_eq!((pool.census().workers, pool.census().late), (1, 0));
}

#[tokio::test]
async fn a_pool_whose_opening_hangs_ends_all_the_same() {
    let (pool, factory) = hanging_in_opening().await;
    pool.close();
    until(|| pool.census().workers == 0).await;
    factory.hanging.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn an_opening_that_panics_is_tried_again() {
    let (first, panicked) = (Fake(0, None), Arc::new(AtomicBool::new(false)));
    let once = Arc::clone(&panicked);
    let open = move || {
        assert!(once.swap(true, Ordering::SeqCst), "foreign code");
        Ok(Fake(1, None))
    };
    let pool = Pool::start(&sizes(1, LONG), first, open).unwrap();
    assert_eq!(pool.run(|_| ((), After::Discard("gone".to_owned()))).await, Ok(()));
    until(|| panicked.load(Ordering::SeqCst) && pool.census().usable == 1).await;
    assert_eq!(pool.run(|fake| (fake.0, After::Keep)).await, Ok(1));
}

#[tokio::test]
async fn a_job_sees_that_it_was_given_up_and_not_before() {
    let (pool, _factory) = start(&sizes(1, SHORT));
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let job = move |_: &mut Fake, turn: &Turn| {
        tell.send(turn.is_over()).unwrap();
        released.recv().unwrap();
        tell.send(turn.is_over()).unwrap();
        ((), After::Keep)
    };
    assert_eq!(pool.run_in_turn(job).await, Err(PoolFault::TimedOut));
    release.send(()).unwrap();
    until(|| pool.census().late == 1).await;
    assert_eq!(told.iter().collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_pool_is_hung_by_its_own_stuck_calls_or_a_held_module_and_by_nothing_else() {
    let (pool, factory) = start(&sizes(1, SHORT));
    let (first, _begun, release_first) = hang();
    assert_eq!(pool.run(first).await, Err(PoolFault::TimedOut));
    until(|| pool.census().usable == 1).await;
    assert!(!pool.is_hung(), "its thread was replaced");

    // A call is stuck and no session is to be had, for another reason: the wrong PIN, say.
    factory.broken.store(true, Ordering::SeqCst);
    let lost = pool.run(|_| ((), After::Discard("gone".to_owned()))).await;
    assert_eq!(lost, Ok(()));
    let refused = HsmError::Unavailable.to_string();
    until(|| pool.census().trouble.as_ref() == Some(&refused)).await;
    assert!(pool.census().stuck == 1 && pool.census().usable == 0 && !pool.is_hung());

    factory.held.store(true, Ordering::SeqCst);
    until(|| pool.is_hung()).await;
    factory.held.store(false, Ordering::SeqCst);
    factory.broken.store(false, Ordering::SeqCst);
    until(|| pool.census().usable == 1).await;
    assert!(!pool.is_hung());

    let (second, _begun, release_second) = hang();
    assert_eq!(pool.run(second).await, Err(PoolFault::TimedOut));
    assert!(pool.is_hung(), "more are stuck than are replaced");
    release_first.send(()).unwrap();
    release_second.send(()).unwrap();
    until(|| pool.census().stuck == 0 && pool.census().usable == 1).await;
    assert!(!pool.is_hung());
}

#[tokio::test]
async fn a_session_whose_closing_hangs_is_counted_and_another_one_takes_its_place() {
    let (pool, factory) = start(&sizes(1, SHORT));
    let hanging = Arc::new(AtomicBool::new(true));
    let closing = Arc::clone(&hanging);
    let lose = move |fake: &mut Fake| {
        fake.1 = Some(closing);
        ((), After::Discard("gone".to_owned()))
    };
    assert_eq!(pool.run(lose).await, Ok(()));
    until(|| pool.census().stuck == 1 && pool.census().usable == 1).await;
    assert_eq!(pool.run(|_| ((), After::Keep)).await, Ok(()));

    // One that comes back late is not closed uncounted either.
    let (job, _begun, release) = hang();
    let closing = Arc::clone(&hanging);
    let late = move |fake: &mut Fake| {
        fake.1 = Some(closing);
        job(fake)
    };
    assert_eq!(pool.run(late).await, Err(PoolFault::TimedOut));
    let opened = factory.opened.load(Ordering::SeqCst);
    release.send(()).unwrap();
    tokio::time::sleep(SHORT).await;
    assert_eq!(pool.census().stuck, 2, "it is in its closing");

    hanging.store(false, Ordering::SeqCst);
    until(|| pool.census().stuck == 0 && pool.census().usable == 1).await;
    assert_eq!(pool.census().late, 1);
    assert!(factory.opened.load(Ordering::SeqCst) > opened, "a session that was stuck is trusted");
}
