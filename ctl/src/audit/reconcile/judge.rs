//! Holds what is mined against what is on record. What has no record was signed elsewhere: the key
//! is out, or the journal lost something.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::id::{ChainId, KeyId};

use super::chain::Read;
use super::known::Known;
use super::mined::{Mined, Sign, What};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Over exactly what a record says.
    pub(super) matched: u64,
    /// Of a nonce that a record has; what was signed nobody says.
    pub(super) matched_by_nonce: u64,
    pub(super) outside: Vec<Outside>,
    /// Of types that this program does not know.
    pub(super) unjudged: Vec<Mined>,
    /// Nonces that something was signed for, and that nobody saw mined.
    pub(super) not_mined: u64,
    /// Nonces on record that are mined in blocks that were not read.
    pub(super) unread: u64,
    /// Accounts whose number of transactions proves nothing: they run code, or the node forgot.
    pub(super) uncounted: Vec<(KeyId, ChainId, &'static str)>,
}

/// A use of a key that has no record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outside {
    /// Something that was mined.
    Mined(Mined),
    /// Nonces that are used up, by what is in no block that was read.
    Nonces { key: KeyId, chain: ChainId, first: u64, last: u64 },
}

impl Outside {
    pub(super) fn key(&self) -> KeyId {
        match self {
            Self::Mined(mined) => mined.key,
            Self::Nonces { key, .. } => *key,
        }
    }

    /// As the reason of a freeze.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Mined(Mined { chain, hash, nonce, what, .. }) => {
                let what = what.words();
                format!("used outside the signer: {what} {hash}, chain {chain}, nonce {nonce}")
            }
            Self::Nonces { chain, first, last, .. } => format!(
                "used outside the signer: nonces {first} to {last} of chain {chain} are mined and \
                 have no record"
            ),
        }
    }
}

impl What {
    /// As programs know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Authorization => "authorization",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Authorization => "authorization in transaction",
        }
    }
}

pub(super) fn judge(known: &Known, reads: &[Read], told: &[Mined]) -> Verdict {
    let mut verdict = Verdict::default();
    let all: BTreeSet<Mined> =
        reads.iter().flat_map(|read| &read.mined).chain(told).copied().collect();
    let mut used: BTreeMap<(KeyId, ChainId), BTreeSet<u64>> = BTreeMap::new();
    for mined in &all {
        used.entry((mined.key, mined.chain)).or_default().insert(mined.nonce);
        match matches(known, mined) {
            Match::Record => verdict.matched = verdict.matched.saturating_add(1),
            Match::Nonce => verdict.matched_by_nonce = verdict.matched_by_nonce.saturating_add(1),
            Match::Nothing => verdict.outside.push(Outside::Mined(*mined)),
            Match::Unknown => verdict.unjudged.push(*mined),
        }
    }
    for read in reads {
        verdict.counts(known, read, &used);
    }
    let read: BTreeSet<ChainId> = reads.iter().map(|read| read.chain).collect();
    let told: BTreeSet<ChainId> = told.iter().map(|mined| mined.chain).collect();
    for chain in told.difference(&read) {
        for (_, key) in known.keys() {
            let seen = used.get(&(key, *chain));
            let unseen = |nonce: &u64| seen.is_none_or(|seen| !seen.contains(nonce));
            let left = known.nonces(key, *chain).filter(unseen).count();
            verdict.not_mined = verdict.not_mined.saturating_add(long(left));
        }
    }
    verdict
}

/// Which record is of something that was mined.
enum Match {
    Record,
    Nonce,
    Nothing,
    Unknown,
}

fn matches(known: &Known, mined: &Mined) -> Match {
    match mined.sign {
        Sign::Digest { digest, .. } => {
            known.record_of(mined.key, digest).map_or(Match::Nothing, |_| Match::Record)
        }
        Sign::Nonce if known.has_nonce(mined.key, mined.chain, mined.nonce) => Match::Nonce,
        Sign::Nonce => Match::Nothing,
        Sign::Strange => Match::Unknown,
    }
}

impl Verdict {
    /// Whether something was seen, or not counted, that may hide a use of a key.
    pub(super) fn is_incomplete(&self) -> bool {
        let forgotten = self.uncounted.iter().any(|(_, _, why)| *why == FORGOTTEN);
        forgotten || !self.unjudged.is_empty()
    }

    /// Every nonce below an account's number of transactions is used up, wherever that was read.
    fn counts(
        &mut self,
        known: &Known,
        read: &Read,
        used: &BTreeMap<(KeyId, ChainId), BTreeSet<u64>>,
    ) {
        let chain = read.chain;
        for (key, account) in &read.accounts {
            let seen = used.get(&(*key, chain));
            let unseen = |nonce: &u64| seen.is_none_or(|seen| !seen.contains(nonce));
            let Some(count) = account.count else {
                self.uncounted.push((*key, chain, FORGOTTEN));
                continue;
            };
            let unread = known.nonces(*key, chain).filter(|nonce| *nonce < count).filter(unseen);
            self.unread = self.unread.saturating_add(long(unread.count()));
            let left = known.nonces(*key, chain).filter(|nonce| *nonce >= count).filter(unseen);
            self.not_mined = self.not_mined.saturating_add(long(left.count()));
            if account.runs_code || known.is_delegated(*key, chain) {
                self.uncounted.push((*key, chain, "it runs code, which uses up nonces by itself"));
                continue;
            }
            let known = known.nonces(*key, chain);
            let mut accounted: BTreeSet<u64> = known.filter(|nonce| *nonce < count).collect();
            accounted.extend(seen.into_iter().flatten().filter(|nonce| **nonce < count));
            for (first, last) in gaps(&accounted, count) {
                self.outside.push(Outside::Nonces { key: *key, chain, first, last });
            }
        }
    }
}

/// The runs of numbers below a count that are not there.
fn gaps(there: &BTreeSet<u64>, count: u64) -> Vec<(u64, u64)> {
    let (mut next, mut gaps) = (0, Vec::new());
    for number in there.iter().copied().chain([count]) {
        if let Some(last) = number.checked_sub(1).filter(|last| *last >= next) {
            gaps.push((next, last));
        }
        next = number.saturating_add(1);
    }
    gaps
}

const FORGOTTEN: &str = "the node does not remember that block's state, or would not say";

fn long(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_in_runs() {
        for (there, count, expected) in [
            (&[][..], 0, &[][..]),
            (&[], 3, &[(0, 2)]),
            (&[0, 1, 2], 3, &[]),
            (&[1, 4], 7, &[(0, 0), (2, 3), (5, 6)]),
            (&[0], 2, &[(1, 1)]),
        ] {
            assert_eq!(gaps(&there.iter().copied().collect(), count), expected, "{there:?}");
        }
    }
}
