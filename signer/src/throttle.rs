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
    global: Option<Global>,
}

/// The rate over all, once for requests that policy may allow, and as much again for those of
/// callers whom their key's rules do not name. No rate of their own holds these back, and they must
/// not use up everybody's.
#[derive(Debug)]
struct Global {
    named: DefaultDirectRateLimiter,
    others: DefaultDirectRateLimiter,
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

/// How often one person proposes, adopts or checks something: most are records for ever, and a book
/// counts for as many as it is large. Freezing, voting, suspending and carrying out are never held
/// back.
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
    per_caller: Option<Limit<DefaultKeyedRateLimiter<CallerId>>>,
    per_key: Option<Limit<DefaultDirectRateLimiter>>,
}

/// A rate of the book, and how much of it is used up.
#[derive(Debug)]
struct Limit<T> {
    rate: Rate,
    limiter: Arc<T>,
}

impl Throttle {
    /// With so many requests per second over all, if bounded.
    pub fn new(global_per_second: Option<NonZeroU32>) -> Self {
        let global = global_per_second.map(|rate| {
            let limiter = || RateLimiter::direct(Quota::per_second(rate));
            Global { named: limiter(), others: limiter() }
        });
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
        if let Some(limit) = key.and_then(|key| key.per_caller.as_ref()) {
            let verdict = limit.limiter.check_key(authenticated.caller());
            verdict.map_err(|until| throttled("rate.per_caller", wait(&until)))?;
        }
        // Policy refuses whom the key's rules do not name; they must not use up the key's rate.
        let named = |rules: &KeyRules| rules.callers.contains(authenticated.caller());
        let named = label.and_then(|label| book.rules(label)).is_some_and(named);
        if let Some(limit) = key.filter(|_| named).and_then(|key| key.per_key.as_ref()) {
            let verdict = limit.limiter.check();
            verdict.map_err(|until| throttled("rate.per_key", wait(&until)))?;
        }
        if let Some(Global { named: theirs, others }) = &self.global {
            let limiter = if named { theirs } else { others };
            limiter.check().map_err(|until| throttled("global", wait(&until)))?;
        }
        Ok(Admitted(authenticated))
    }

    /// The book's rates, built from those before when another book is in force.
    fn rates(&self, book: &Book) -> Arc<Rates> {
        let before = self.book.load_full();
        if let Some(rates) = before.as_ref().filter(|rates| rates.book == book.hash()) {
            return rates.clone();
        }
        let rates = Arc::new(Rates::of_book(book, before.as_deref()));
        self.book.store(Some(rates.clone()));
        rates
    }
}

impl Rates {
    fn of_book(book: &Book, before: Option<&Self>) -> Self {
        let keys = book.keys().map(|(label, rules)| {
            let before = before.and_then(|rates| rates.of(label));
            let (caller, key) = (rules.rate.per_caller, rules.rate.per_key);
            let used = before.and_then(|rates| rates.per_caller.as_ref());
            let per_caller = caller.and_then(|rate| Limit::of(rate, used, RateLimiter::keyed));
            let used = before.and_then(|rates| rates.per_key.as_ref());
            let per_key = key.and_then(|rate| Limit::of(rate, used, RateLimiter::direct));
            (label.clone(), KeyRates { per_caller, per_key })
        });
        Self { book: book.hash(), keys: keys.collect() }
    }

    fn of(&self, label: &KeyLabel) -> Option<&KeyRates> {
        let at = self.keys.binary_search_by(|(known, _)| known.cmp(label)).ok()?;
        self.keys.get(at).map(|(_, rates)| rates)
    }
}

impl<T> Limit<T> {
    /// Goes on where the one before is, if it has the same rate: else any adoption, if only of a
    /// comment more, would refill what is used up.
    fn of(rate: Rate, before: Option<&Self>, fresh: impl FnOnce(Quota) -> T) -> Option<Self> {
        let limiter = match before.filter(|before| before.rate == rate) {
            Some(before) => before.limiter.clone(),
            None => Arc::new(fresh(quota(rate)?)),
        };
        Some(Self { rate, limiter })
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

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = r#"
version = 1
[chain.test]
id = 1
native = "ETH"
[list]
suppliers = ["0x00000000000000000000000000000000000a11ce"]
[caller."spiffe://test/a"]
owners = ["olga"]
[key.hot]
callers = ["spiffe://test/a"]
chains = ["test"]
native = { to = "@suppliers", per_tx = "2.5 ETH", window = "3 ETH / 1h" }
fees = { per_tx = "1 ETH", window = "1 ETH / 1h", max_priority_fee = "1 gwei", counts_as = "native" }
rate = { per_caller = "2/m", per_key = "3/m", parked = 1 }
"#;

    /// How many more requests of one caller are let in by each rate.
    fn left(throttle: &Throttle, book: &str) -> [usize; 2] {
        let rates = throttle.rates(&Book::parse(book).unwrap());
        let key = rates.of(&"hot".parse().unwrap()).unwrap();
        let (per_caller, per_key) = (key.per_caller.as_ref(), key.per_key.as_ref());
        let caller: CallerId = "spiffe://test/a".parse().unwrap();
        let of_caller = |_: &i32| per_caller.unwrap().limiter.check_key(&caller).is_ok();
        let of_key = |_: &i32| per_key.unwrap().limiter.check().is_ok();
        [(0..9).take_while(of_caller).count(), (0..9).take_while(of_key).count()]
    }

    #[test]
    fn whom_no_rule_names_uses_up_nobody_elses_part_of_the_rate_over_all() {
        let throttle = Throttle::new(NonZeroU32::new(2));
        let unlimited = BOOK.replace("\"2/m\"", "\"unlimited\"").replace("3/m", "unlimited");
        let book = Book::parse(&unlimited).unwrap();
        let ask = |caller: &str, key: &str| {
            let authenticated = Authenticated::for_test(caller.parse().unwrap());
            throttle.admit(&book, authenticated, Some(&key.parse().unwrap())).is_ok()
        };
        let admitted = |caller, key| (0..9).take_while(|_| ask(caller, key)).count();
        assert_eq!(admitted("spiffe://test/b", "hot"), 2, "another caller's key");
        assert_eq!(admitted("spiffe://test/a", "nobodys"), 0, "a key that nobody has");
        assert_eq!(admitted("spiffe://test/a", "hot"), 2);
    }

    #[test]
    fn a_book_that_changes_no_rate_refills_none() {
        let throttle = Throttle::new(None);
        assert_eq!(left(&throttle, BOOK), [2, 3]);
        assert_eq!(left(&throttle, &format!("# a comment more{BOOK}")), [0, 0]);
        assert_eq!(left(&throttle, BOOK), [0, 0]);
    }

    #[test]
    fn a_rate_that_is_changed_begins_anew_and_the_other_goes_on() {
        let throttle = Throttle::new(None);
        assert_eq!(left(&throttle, BOOK), [2, 3]);
        assert_eq!(left(&throttle, &BOOK.replace("2/m", "1/m")), [1, 0]);
    }
}
