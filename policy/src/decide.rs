//! The one place where a signature is permitted.
//!
//! No clock, file, lock or log in here: time, spending, votes and key states arrive in [`Facts`].
//! The same inputs give the same answer in a test, in `portctl policy explain`, and in a replay.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use crate::asks::{Ask, asks};
use crate::book::{Book, ContractKind, SharedLimit};
use crate::bounds::Moment;
use crate::checks::{
    add_worth, check_caller_and_chain, check_cooling, check_readable, check_standing,
    counted_grants, first_payments,
};
use crate::drain::{self, Draining};
use crate::effect::{self, Effect};
use crate::finding::{Findings, Rule, Seen};
use crate::id::{
    BookHash, ChainId, DecisionNumber, Digest, KeyId, KeyLabel, PersonId, Sequence, Tag,
};
use crate::ledger::{Ledger, Repeat};
use crate::limits;
use crate::money::Charges;
use crate::payees::Payees;
use crate::permitted::{self, Ground};
use crate::prices::Prices;
use crate::quorum::{Terms, Vote};
use crate::record::RecordedSlot;
use crate::request::Request;
use crate::reservation::Reservations;
use crate::settlement::Settlements;
use crate::stops::Stops;
use crate::time::{Interval, Span};

/// Judges one request. All branching about whether to sign is here; the rules only look.
pub fn decide(book: &Book, facts: &Facts<'_>, request: Request) -> Decision {
    let verdict = judge(book, facts, &request);
    let findings = verdict.findings;
    let Some(charge) = verdict.charge.filter(|_| findings.all_passed()) else {
        return Decision::Deny(Denial { request, findings });
    };
    if verdict.missing.is_empty() {
        let votes = if verdict.asked { facts.approval.records.clone() } else { Vec::new() };
        let revision = book.hash();
        let repeat = facts.repeats(&request);
        let (first, as_safe) = (verdict.first, verdict.as_safe);
        let known = facts.known(&request);
        let allowed =
            Allowed { request, charge, first, as_safe, revision, repeat, known, votes, findings };
        return Decision::Allow(Box::new(allowed));
    }
    let (missing, expires, execute) = (verdict.missing, verdict.expires, verdict.execute);
    Decision::Park(Parked { request, findings, missing, expires, execute })
}

/// Decides again, without charging: is what was allowed still allowed at this moment? If not, at
/// least one finding says why.
pub fn still_allows(book: &Book, facts: &Facts<'_>, request: &Request) -> Result<(), Findings> {
    let Verdict { mut findings, missing, .. } = judge(book, facts, request);
    for one in &missing {
        findings.note(Rule::Approved, Seen::Words(one.terms.need.to_string().into()), false);
    }
    if findings.all_passed() { Ok(()) } else { Err(findings) }
}

/// What policy says of one request. Closed: a new variant must break every `match`.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Sign it, after charging it.
    Allow(Box<Allowed>),
    /// Do not.
    Deny(Denial),
    /// Ask people.
    Park(Parked),
}

/// Proof that policy allowed exactly this request, under this revision of the book.
///
/// Made only by [`decide`]. Never derive `Clone`, `Default` or `Deserialize` here: each would be a
/// second way to make one.
///
/// ```compile_fail
/// fn twice(allowed: portcullis_policy::decide::Allowed) {
///     let copy = allowed.clone();
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping a permission loses the request"]
pub struct Allowed {
    request: Request,
    charge: Charges,
    first: Vec<Address>,
    as_safe: bool,
    revision: BookHash,
    repeat: Option<Sequence>,
    known: Repeat,
    votes: Vec<Sequence>,
    findings: Findings,
}

impl Allowed {
    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What it may cost at most.
    pub fn charge(&self) -> &Charges {
        &self.charge
    }

    /// Whom the key never paid before, if the book asks people about such payments. In order.
    pub fn first_payments(&self) -> &[Address] {
        &self.first
    }

    /// Where it is charged, as records hold it.
    pub fn slot(&self) -> RecordedSlot {
        RecordedSlot::of(&self.request, self.as_safe)
    }

    /// The book it was allowed under.
    pub fn revision(&self) -> BookHash {
        self.revision
    }

    /// The record that first signed the same digest: then it is not charged again.
    pub fn repeat(&self) -> Option<Sequence> {
        self.repeat
    }

    /// What of its charge was charged before.
    pub fn known(&self) -> Repeat {
        self.known
    }

    /// The records of the votes that counted, if people were asked.
    pub fn votes(&self) -> &[Sequence] {
        &self.votes
    }

    /// The trace.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The request, for whoever goes on with it.
    pub fn into_request(self) -> Request {
        self.request
    }
}

/// A refusal, with everything every rule said.
#[derive(Debug)]
pub struct Denial {
    /// The request.
    pub request: Request,
    /// The trace.
    pub findings: Findings,
}

/// A request that people must agree to.
#[derive(Debug)]
pub struct Parked {
    /// The request.
    pub request: Request,
    /// The trace.
    pub findings: Findings,
    /// What is asked of people and not met.
    pub missing: Vec<Missing>,
    /// How long votes are taken.
    pub expires: Span,
    /// How much longer it may be signed.
    pub execute: Span,
}

/// Something that is asked of people, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// Why, in the words of the book: `approve above 1 ETH`.
    pub rule: String,
    /// What is asked.
    pub terms: Terms,
}

impl std::fmt::Display for Missing {
    /// Who: `2 of treasury`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.terms.need.fmt(out)
    }
}

/// What people said to a request, as far as it counts at this moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Approval {
    /// Votes in favour.
    pub votes: Vec<Vote>,
    /// Their records.
    pub records: Vec<Sequence>,
    /// Whether somebody said no.
    pub rejected: bool,
}

/// Everything a decision may depend on besides book and request.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What time it is.
    pub now: Interval,
    /// The key asked for, if it was made. One whose object drifted in the token is frozen.
    pub key: Option<KeyFacts<'a>>,
    /// All stops: of keys, callers, tags, everything.
    pub stops: &'a Stops,
    /// What was authorised.
    pub ledger: &'a Ledger,
    /// Keys by their names in the book.
    pub labels: &'a BTreeMap<KeyLabel, KeyId>,
    /// Whom keys have paid, and whom books added a while ago.
    pub payees: &'a Payees,
    /// What watchers told.
    pub settlements: &'a Settlements,
    /// What pricers told.
    pub prices: &'a Prices,
    /// What is in flight.
    pub open: &'a Reservations,
    /// This request's own reservation, if it is decided again.
    pub own: Option<DecisionNumber>,
    /// The digest this caller's request id already stands for.
    pub bound: Option<Digest>,
    /// Requests of this caller that wait for people, this one not counted.
    pub parked: u32,
    /// Whether so much waits that no more may.
    pub full: bool,
    /// What people said to exactly this request.
    pub approval: Approval,
    /// Keys that were ended for good.
    pub revoked: &'a BTreeSet<KeyId>,
    /// The drain that the key is under, if it is.
    pub draining: Option<Draining<'a>>,
}

/// A key, as far as decisions go.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// Its name in the book.
    pub label: &'a KeyLabel,
    /// Its address.
    pub address: Address,
    /// Its tags.
    pub tags: &'a BTreeSet<Tag>,
    /// The chains that it may ever sign for.
    pub chains: &'a BTreeSet<ChainId>,
}

impl Facts<'_> {
    fn repeats(&self, request: &Request) -> Option<Sequence> {
        self.ledger.held(request.slot()).and_then(|held| held.signed_at(request.digest()))
    }

    fn known(&self, request: &Request) -> Repeat {
        let held = self.ledger.held(request.slot());
        held.map_or(Repeat::No, |held| held.repeat(request.digest(), &request.asker().caller))
    }

    /// What was reserved as new stays new, although the same digest was recorded meanwhile: it will
    /// be stamped when it is recorded.
    fn counts_as(&self, request: &Request) -> Repeat {
        let own = self.own.and_then(|number| self.open.get(number));
        own.map_or_else(|| self.known(request), |own| own.repeat)
    }
}

struct Verdict {
    findings: Findings,
    charge: Option<Charges>,
    first: Vec<Address>,
    /// Whether it acts for a Safe.
    as_safe: bool,
    /// Whether people are asked at all.
    asked: bool,
    missing: Vec<Missing>,
    expires: Span,
    execute: Span,
}

impl Verdict {
    fn refused(findings: Findings) -> Self {
        let (first, missing) = (Vec::new(), Vec::new());
        let (expires, execute) = (Span(0), Span(0));
        let (as_safe, asked) = (false, false);
        Self { findings, charge: None, first, as_safe, asked, missing, expires, execute }
    }
}

fn judge(book: &Book, facts: &Facts<'_>, request: &Request) -> Verdict {
    let mut findings = Findings::with_room();
    let Some(key) = facts.key else {
        findings.note(Rule::KeyUsable, Seen::Words(request.asker().key.to_string().into()), false);
        return Verdict::refused(findings);
    };
    if !check_standing(facts, &key, request, &mut findings) {
        return Verdict::refused(findings);
    }
    if let Some(draining) = &facts.draining {
        let judged = (key.address, request);
        let charge = drain::judge(book, (facts, draining), judged, &mut findings);
        return Verdict { charge, ..Verdict::refused(findings) };
    }
    let rules = book.rules(key.label);
    findings.note(Rule::KeyHasRules, Seen::Words(key.label.shared()), rules.is_some());
    let Some(rules) = rules else { return Verdict::refused(findings) };
    check_caller_and_chain(book, rules, request, &mut findings);

    let chain = request.chain();
    let effects = effect::effects(request, key.address, book.registry());
    let moment = Moment { own: key.address, now: facts.now.sure };
    let ground = Ground { rules, request, chain, moment };
    for one in &effects {
        permitted::check(&ground, one, &mut findings);
    }
    let mut payments = effect::payments(&effects, chain);
    check_cooling(rules, facts, &key, &payments, &mut findings);
    let shared: Vec<&SharedLimit> = book.shared(key.label).collect();
    let charge = effect::charges(&effects, chain);
    let charge = charge
        .and_then(|charge| add_worth(book, facts, &shared, charge, &mut payments, &mut findings));
    let grants = counted_grants(rules, &effects, chain);
    let charge = charge.and_then(|mut charge| {
        let caller = &request.asker().caller;
        let added = limits::extend(&mut charge, &shared, (caller, chain), &payments, &grants);
        added.map(|()| charge)
    });
    findings.note(Rule::NoOverflow, Seen::Nothing, charge.is_some());
    let Some(charge) = charge else { return Verdict::refused(findings) };
    let asked =
        limits::Asked { slot: request.slot(), charge: &charge, repeat: facts.counts_as(request) };
    limits::check(book.registry(), rules, facts, &asked, &mut findings);
    limits::check_shared(&shared, facts, &asked, &mut findings);
    limits::check_outstanding(rules, facts, &asked, &mut findings);
    limits::check_nonce(rules, facts, &asked, &mut findings);

    let first = first_payments(rules, facts, request, &payments);
    let asks = asks(rules, &charge, &first, &effects);
    // By whom is in the journal, and not the caller's business.
    if facts.approval.rejected && !asks.is_empty() {
        findings.note(Rule::NotRejected, Seen::Nothing, false);
    }
    let owners = book.caller(&request.asker().caller).map(|caller| &caller.owners);
    let owns = |person: &PersonId| owners.is_some_and(|owners| owners.contains(person));
    let met = |terms: &Terms| terms.are_met(&facts.approval.votes, facts.now, owns);
    let asked = !asks.is_empty();
    let unmet: Vec<Ask<'_>> = asks.into_iter().filter(|ask| !met(ask.terms)).collect();
    if !unmet.is_empty() {
        let room = facts.parked < rules.rate.parked && !facts.full;
        findings.note(Rule::ParkedPerCaller, Seen::Words(facts.parked.to_string().into()), room);
        check_readable(request, &effects, &mut findings);
    }
    let expires = unmet.iter().map(|ask| ask.terms.expires).min().unwrap_or(Span(0));
    let execute = unmet.iter().map(|ask| ask.terms.execute).min().unwrap_or(Span(0));
    let missing = unmet.iter().map(|ask| ask.missing(book.registry(), &charge)).collect();
    let as_safe = effects.iter().any(|effect| {
        let Effect::Via { contract } = effect else { return false };
        book.registry().contract_kind(chain, *contract) == ContractKind::Safe
    });
    let charge = Some(charge);
    Verdict { findings, charge, first, as_safe, asked, missing, expires, execute }
}
