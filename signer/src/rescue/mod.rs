//! `portcullis rescue`: fences or removes keys straight on the token, while the signer is down or
//! not to be trusted. Needs neither the journal nor a running signer, and the PIN from the hand of
//! somebody who holds it.
//!
//! What it did stands in notes beside the journal. A person of security signs them, and the signer
//! takes them in at its next start ([`notes`]); whether it does or not, a key that is fenced or
//! gone is frozen there.

pub mod notes;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use portcullis_policy::id::{KeyId, PersonId};
use portcullis_policy::record::{Grade, RescueDeed, RescueNote};
use portcullis_policy::state::REASON_MAX;

use self::notes::{Draft, NoteFault};
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::hsm::{Doomed, Hsm, HsmError, Removal, TokenKey, causes};
use crate::keys::rand_bytes;
use crate::pin::PinSource;

/// What somebody wants done to the token.
#[derive(Clone, Debug)]
pub struct Rescue {
    /// What.
    pub deed: RescueDeed,
    /// To which keys.
    pub keys: Chosen,
    /// Who sees to it: they sign the notes.
    pub by: PersonId,
    /// Why: 1 to 500 characters.
    pub reason: String,
    /// Where the notes go. `None`: where the signer looks for them.
    pub notes: Option<PathBuf>,
    /// The PIN, from whoever agrees.
    pub pin: PinSource,
}

/// Keys, as the token knows them.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// Every key with an id of ours.
    All,
    /// By id, or by what the token calls them.
    Named(Vec<String>),
}

/// What came of one key.
#[derive(Clone, Debug)]
pub struct Rescued {
    /// The key.
    pub key: KeyId,
    /// What the token calls it.
    pub label: String,
    /// What the token answered.
    pub answer: String,
    /// Whether it did what it was told.
    pub done: bool,
    /// The text to be signed, or why there is none.
    pub statement: Result<PathBuf, String>,
}

/// What came of all of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The keys that were told.
    pub rescued: Vec<Rescued>,
    /// Keys on the token that have no id of ours, and were left alone, by their labels.
    pub left: Vec<String>,
}

/// Nothing was done, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The signer's configuration, which says which token it is.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// Nobody agreed.
    #[error(
        "{0:?} is the signer's own PIN file: a rescue takes the PIN from whoever holds it. Leave \
         out --pin-file and have them type it"
    )]
    OwnPin(PathBuf),
    /// Nobody could read why.
    #[error("say why in 1 to 500 characters")]
    Reason,
    /// The token.
    #[error("the token cannot be used")]
    Hsm(#[from] HsmError),
    /// No such key.
    #[error("the token has no key {name:?}. It has: {}", listed(has))]
    NoKey {
        /// As asked for.
        name: String,
        /// What there is.
        has: Vec<String>,
    },
    /// The PIN was wrong.
    #[error(
        "the token refused the PIN, and counts it: a few more lock it, for the signer too. \
         Try again only if you know it"
    )]
    WrongPin,
    /// Not a token of ours.
    #[error("the token {0:?} has no keys: is it the right one?")]
    Empty(String),
    /// Several keys of that name.
    #[error("the token calls several keys {name:?}: say which by id: {}", listed(ids))]
    Ambiguous {
        /// As asked for.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Where the notes go. Nothing was done to any key from there on.
    #[error("no note can be written; name another folder with --notes")]
    Note(#[from] NoteFault),
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    Random,
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl Rescue {
    /// Whether a reason can stand in the journal.
    ///
    /// # Errors
    ///
    /// It is empty or too long.
    pub fn reason(text: &str) -> Result<(), RescueError> {
        let clear = (1..=REASON_MAX).contains(&text.chars().count());
        clear.then_some(()).ok_or(RescueError::Reason)
    }

    /// Does it, key by key: each is noted before the token is told, and again with its answer. What
    /// the token would not do is answered for its key, and keeps no other from being done.
    ///
    /// # Errors
    ///
    /// [`RescueError`]; what was done until then stands in notes.
    pub async fn perform(&self, config: &Config) -> Result<Outcome, RescueError> {
        let mut hsm = config.hsm()?;
        if let (PinSource::File(own), PinSource::File(given)) = (&hsm.pin, &self.pin)
            && is_same(own, given)
        {
            return Err(RescueError::OwnPin(given.clone()));
        }
        hsm.pin = self.pin.clone();
        // The signer may hold all the others.
        hsm.sessions = NonZeroUsize::MIN;
        let folder = self.notes.clone().unwrap_or_else(|| notes::folder(&config.data));
        notes::make_folder(&folder)?;
        let token = Hsm::open(&hsm).map_err(|error| {
            let wrong = matches!(error, HsmError::WrongPin);
            if wrong { RescueError::WrongPin } else { RescueError::Hsm(error) }
        })?;
        let done = self.each(&token, &folder).await;
        token.close().await;
        done
    }

    async fn each(&self, token: &Hsm, folder: &Path) -> Result<Outcome, RescueError> {
        let on_token = token.inspect().await?;
        // What signs checkpoints moves no money, and is what tells later what happened.
        let strange = |key: &&TokenKey| key.id.is_none() && !key.signs_checkpoints();
        let left = on_token.iter().filter(strange).map(|key| key.label.clone());
        let mut outcome = Outcome { rescued: Vec::new(), left: left.collect() };
        for (key, found) in self.keys.among(&on_token)? {
            outcome.rescued.push(self.one(token, folder, key, found).await?);
        }
        if outcome.rescued.is_empty() && outcome.left.is_empty() {
            return Err(RescueError::Empty(token.facts().name()));
        }
        Ok(outcome)
    }

    /// Noted before the token is told. Without a note a key is fenced all the same: that is what it
    /// is all for, and can be taken back. Nothing is removed unnoted.
    async fn one(
        &self,
        token: &Hsm,
        folder: &Path,
        key: KeyId,
        found: &TokenKey,
    ) -> Result<Rescued, RescueError> {
        let note = RescueNote {
            answer: BEGUN.into(),
            by: self.by.clone(),
            deed: self.deed,
            id: rand_bytes().map_err(|_| RescueError::Random)?.into(),
            label: shortened(&found.label),
            token: token.facts().name(),
            written: clock::wall(),
        };
        let mut draft = Draft { key, note, reason: self.reason.clone() };
        let place = draft.write(folder);
        let (done, answer) = match (&place, self.deed) {
            (Err(_), RescueDeed::Destroy) => (false, UNTOLD.to_owned()),
            (Ok(_), _) | (Err(_), RescueDeed::Fence) => self.act(token, key, found).await,
        };
        tracing::warn!(%key, label = %found.label, deed = self.deed.name(), %answer, "rescue");
        draft.note.answer = shortened(&answer);
        let written = place.and_then(|place| {
            draft.write_again(&place)?;
            Ok(place.statement())
        });
        let RescueNote { answer, label, .. } = draft.note;
        let statement = written.map_err(|fault| causes(&fault));
        Ok(Rescued { key, label, answer, done, statement })
    }

    async fn act(&self, token: &Hsm, key: KeyId, found: &TokenKey) -> (bool, String) {
        let answer = match self.deed {
            RescueDeed::Fence => token.fence(BTreeSet::from([key]), true).await.map(|answer| {
                match answer.refused.get(&key) {
                    None => (true, "it may not sign: read back".to_owned()),
                    Some(why) => (false, format!("refused: {why}")),
                }
            }),
            RescueDeed::Destroy => {
                let point = found.point.clone();
                let doomed = Doomed { id: key, label: found.label.clone(), point };
                token.destroy(doomed).await.map(|removal| match removal {
                    Removal::Gone(objects) => {
                        let proves = match token.grade() {
                            Grade::Told => "the token says so",
                            Grade::Unlinked => {
                                "files were unlinked, which proves nothing of copies"
                            }
                        };
                        (true, format!("gone: {objects} objects removed, none found: {proves}"))
                    }
                    Removal::Refused(why) => (false, format!("refused: {why}")),
                })
            }
        };
        answer.unwrap_or_else(|error| (false, format!("not known: {}", causes(&error))))
    }
}

impl Chosen {
    /// Each once, by id.
    fn among<'a>(
        &self,
        on_token: &'a [TokenKey],
    ) -> Result<Vec<(KeyId, &'a TokenKey)>, RescueError> {
        let ours = on_token.iter().filter_map(|key| Some((key.id?, key)));
        let Self::Named(names) = self else { return Ok(once(ours)) };
        let mut chosen = Vec::new();
        for name in names {
            // Whoever has the PIN gives labels: one that is written like another key's id is none.
            let by_id = once(ours.clone().filter(|(id, _)| id.to_string() == *name));
            let by_label = || once(ours.clone().filter(|(_, key)| key.label == *name));
            let found = if by_id.is_empty() { by_label() } else { by_id };
            match found.as_slice() {
                [] => {
                    let has = ours.map(|(id, key)| format!("{:?} ({id})", key.label)).collect();
                    return Err(RescueError::NoKey { name: name.clone(), has });
                }
                [one] => chosen.push(*one),
                [_, _, ..] => {
                    let ids = found.iter().map(|(id, _)| id.to_string()).collect();
                    return Err(RescueError::Ambiguous { name: name.clone(), ids });
                }
            }
        }
        Ok(once(chosen.into_iter()))
    }
}

/// A key that is there twice is told once: the token is asked by id.
fn once<'a>(keys: impl Iterator<Item = (KeyId, &'a TokenKey)>) -> Vec<(KeyId, &'a TokenKey)> {
    let mut seen = BTreeSet::new();
    keys.filter(|(id, _)| seen.insert(*id)).collect()
}

/// Whether two names are of one file. A copy is another one: that the PIN's holder agrees is theirs
/// to see to, and the PIN the proof.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    one == other || (file(one).is_some() && file(one) == file(other))
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}

/// What a note says until the token has answered.
const BEGUN: &str = "it was about to be told; what came of it is not known";

/// What is answered for a key that was not to be removed unnoted.
const UNTOLD: &str = "not told: no note of it can be written";
