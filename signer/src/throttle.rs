//! Lets in only so many requests: of one caller to one key, to one key, and over all.
//!
//! governor's state is memory only and never the only bound on money. The caller's own rate is
//! asked first, so that one caller cannot use up everybody's.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use portcullis_policy::book::{Book, KeyRules, Rate};
use portcullis_policy::id::{BookHash, CallerId, KeyLabel, PersonId};

use crate::refusal::Refusal;
use crate::roster::Authenticated;

/// Rates of the book in force, and one over all from the configuration.
#[derive(Debug)]
pub struct Throttle {
    book: ArcSwapOption<Rates>,
    global: Option<DefaultDirectRateLimiter>,
}

/// Proof that a request was let in.
#[derive(Debug)]
#[must_use]
pub struct Admitted(Authenticated);

impl Admitted {
    /// Who asks.
    pub fn into_authenticated(self) -> Authenticated {
        self.0
    }
}

/// How often one person proposes or adopts something: each is a record for ever, and a book counts
/// for as many as it is large. Freezing, voting, suspending and carrying out are never held back.
#[derive(Clone, Debug)]
pub struct Acts(Arc<DefaultKeyedRateLimiter<PersonId>>);

impl Default for Acts {
    fn default() -> Self {
        Self(Arc::new(RateLimiter::keyed(ACTS)))
    }
}

impl Acts {
    /// Lets a person go on with so many bytes, or says when to come back.
    pub fn admit(&self, person: &PersonId, bytes: usize) -> Result<(), Refusal> {
        let acts = bytes.div_ceil(ACT_BYTES).clamp(1, BURST);
        let acts = u32::try_from(acts).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        // No more than the burst, so it is never too many for ever.
        let verdict = self.0.check_key_n(person, acts).unwrap_or(Ok(()));
        verdict.map_err(|until| throttled("acts per person", wait(&until)))
    }
}

/// One in two seconds, and in a hurry so many at once.
const ACTS: Quota = Quota::per_minute(NonZeroU32::new(30).expect("above zero"))
    .allow_burst(NonZeroU32::new(60).expect("above zero"));

const BURST: usize = 60;

/// Of a book, so much is one act.
const ACT_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Rates {
    book: BookHash,
    keys: Vec<(KeyLabel, KeyRates)>,
}

#[derive(Debug)]
struct KeyRates {
    per_caller: Option<DefaultKeyedRateLimiter<CallerId>>,
    per_key: Option<DefaultDirectRateLimiter>,
}

impl Throttle {
    /// With so many requests per second over all, if bounded.
    pub fn new(global_per_second: Option<NonZeroU32>) -> Self {
        let global = global_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { book: ArcSwapOption::empty(), global }
    }

    /// Lets a request in, or says when to come back. `label` is `None` for a key nobody knows:
    /// policy will say so.
    pub fn admit(
        &self,
        book: &Book,
        authenticated: Authenticated,
        label: Option<&KeyLabel>,
    ) -> Result<Admitted, Refusal> {
        let rates = self.rates(book);
        let key = label.and_then(|label| rates.of(label));
        if let Some(limiter) = key.and_then(|key| key.per_caller.as_ref()) {
            let verdict = limiter.check_key(authenticated.caller());
            verdict.map_err(|until| throttled("rate.per_caller", wait(&until)))?;
        }
        // Policy refuses whom the key's rules do not name; they must not use up the key's rate.
        let named = |rules: &KeyRules| rules.callers.contains(authenticated.caller());
        let named = label.and_then(|label| book.rules(label)).is_some_and(named);
        if let Some(limiter) = key.filter(|_| named).and_then(|key| key.per_key.as_ref()) {
            limiter.check().map_err(|until| throttled("rate.per_key", wait(&until)))?;
        }
        if let Some(limiter) = &self.global {
            limiter.check().map_err(|until| throttled("global", wait(&until)))?;
        }
        Ok(Admitted(authenticated))
    }

    /// The book's rates, built anew when another book is in force.
    fn rates(&self, book: &Book) -> Arc<Rates> {
        let current = self.book.load_full().filter(|rates| rates.book == book.hash());
        current.unwrap_or_else(|| {
            let rates = Arc::new(Rates::of_book(book));
            self.book.store(Some(rates.clone()));
            rates
        })
    }
}

impl Rates {
    fn of_book(book: &Book) -> Self {
        let keys = book.keys().map(|(label, rules)| {
            let per_caller = rules.rate.per_caller.and_then(quota).map(RateLimiter::keyed);
            let per_key = rules.rate.per_key.and_then(quota).map(RateLimiter::direct);
            (label.clone(), KeyRates { per_caller, per_key })
        });
        Self { book: book.hash(), keys: keys.collect() }
    }

    fn of(&self, label: &KeyLabel) -> Option<&KeyRates> {
        let at = self.keys.binary_search_by(|(known, _)| known.cmp(label)).ok()?;
        self.keys.get(at).map(|(_, rates)| rates)
    }
}

/// So many in so much time, refilled one by one, with the whole number as the burst.
fn quota(rate: Rate) -> Option<Quota> {
    let burst = NonZeroU32::new(rate.requests)?;
    let each = Duration::from_millis(rate.per.0).checked_div(rate.requests)?;
    Quota::with_period(each).map(|quota| quota.allow_burst(burst))
}

fn wait(until: &governor::NotUntil<governor::clock::QuantaInstant>) -> Duration {
    until.wait_time_from(DefaultClock::default().now())
}

fn throttled(rate: &'static str, retry_after: Duration) -> Refusal {
    Refusal::Throttled { retry_after, rate }
}
