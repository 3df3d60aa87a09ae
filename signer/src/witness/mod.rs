//! A witness of journals (c2sp.org/tlog-witness): security runs it, on a machine that is not the
//! signer's. It cosigns a checkpoint only if it continues the one that it cosigned before.
//!
//! So of two signers on copies of one folder, and of a folder before and after it was put back, one
//! gets cosignatures. And a hold stops them without the signer's help. Start reading in
//! [`Cosigner::add`].
//!
//! It must never cosign what it has not made last on its own disk, nor take anything back.

mod config;
mod cover;
mod evidence;
mod exhibits;
mod folder;
mod follower;
mod growth;
mod holds;
mod http;
mod init;
mod kept;
mod key;
mod known;
mod origins;
mod peers;
mod pinned;
mod quiet;
mod remote;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use portcullis_policy::note::{Checkpoint, NoteFault, NoteSignature, Witness};
use portcullis_policy::request::sha256;
use portcullis_policy::submission::Submission;
use portcullis_policy::time::Millis;
use tokio::sync::Notify;

pub use self::config::{WitnessConfig, WitnessConfigError};
pub use self::cover::{Cover, Covered, Mode, Unwitnessed};
pub use self::follower::{Follower, Pace, Turn};
use self::holds::Noticed;
pub use self::holds::{Holds, Scope};
pub use self::http::Server;
pub use self::init::{Made, init, init_with};
use self::key::Secret;
pub use self::key::SecretError;
use self::known::{Known, Lasting};
pub use self::pinned::{OtherJournal, Pinned};
pub use self::remote::{Answer, Remote, Unanswered};
use crate::clock;
use crate::journal::{ApartError, StorageError};

/// Cosigns checkpoints of the journals that it knows.
pub struct Cosigner {
    secret: Secret,
    witness: Witness,
    journals: BTreeMap<String, Known>,
    holds: Holds,
    noticed: Noticed,
    /// A journal of which we cosigned more than we know, and how much.
    forgotten: OnceLock<(String, u64)>,
    failed: Notify,
    wall: fn() -> Millis,
}

/// Why the witness did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The configuration is unusable.
    #[error("the configuration cannot be used")]
    Config(#[from] WitnessConfigError),
    /// The key is.
    #[error("the witness's key cannot be used")]
    Secret(#[from] SecretError),
    /// The key is gone, and what it cosigned is not.
    #[error(
        "{path:?} is not there, and journals were cosigned here before: restore it. With another \
         key this would be another witness, in another folder"
    )]
    KeyLost {
        /// The key's file.
        path: PathBuf,
    },
    /// What was cosigned of a journal is not known.
    #[error(
        "what was cosigned of {origin} before is not known. If nothing ever was under this key, \
         say so: `portcullis witness init --new {origin}`. If anything was, and its newest state \
         cannot be had, this key is spent: make another witness, in another folder and with \
         another name"
    )]
    State {
        /// The journal.
        origin: String,
        /// Why.
        #[source]
        source: ApartError,
    },
    /// What was cosigned is gone.
    #[error(
        "{origin} was made known here before, and {path:?} is gone: nobody can say any more what \
         this key may cosign of it. If the newest state of that folder is elsewhere, move it back. \
         Otherwise make another witness, in another folder and with another name, and tell whoever \
         relies on this one"
    )]
    Lost {
        /// The journal.
        origin: String,
        /// What is gone.
        path: PathBuf,
    },
    /// It is not in the list.
    #[error("{origin} is not in the list of journals: `portcullis witness init` puts it there")]
    Unlisted {
        /// The journal.
        origin: String,
    },
    /// A name that stands nowhere.
    #[error("{origin} is not among the journals of the configuration: write its key there first")]
    NotConfigured {
        /// As given.
        origin: String,
    },
    /// Whatever was held would be released.
    #[error(
        "{path:?} is not there, and a new one would release whatever was held: restore it. If \
         nothing was held: mkdir -m 700 {path:?}"
    )]
    HoldsLost {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else's folder.
    #[error(
        "{path:?} belongs to user {owner}, and this is user {own}: run as the owner, or \
         chown -R {own} it"
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// We.
        own: u32,
    },
    /// Others can write there.
    #[error("{path:?} has mode {mode:03o}: others may write there. chmod go-w {path:?}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// We were shown a cosignature of ours that we know nothing of.
    #[error(
        "somebody has a cosignature of ours over {size} records of {origin}, and here are fewer or \
         others: an older folder was put back, or another process has this key. The journal is \
         held. Make another witness, with another key and name"
    )]
    Forgotten {
        /// The journal.
        origin: String,
        /// How many records.
        size: u64,
    },
    /// It is no checkpoint of this journal.
    #[error("what was kept of {origin} is no checkpoint of it: restore the folder")]
    Kept {
        /// The journal.
        origin: String,
    },
    /// A folder.
    #[error("{path:?} cannot be made or read")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system refused the address.
    #[error("{address} cannot be listened on")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint could not be kept. What is on the disk is not known: the next start finds out.
    #[error("a checkpoint could not be kept: the disk failed")]
    Disk,
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The form.
    #[error("malformed: {0}")]
    Malformed(NoteFault),
    /// The proof goes backwards.
    #[error("malformed: the old size is {old}, and the checkpoint's {size}")]
    Backwards {
        /// Said to be cosigned.
        old: u64,
        /// The checkpoint's.
        size: u64,
    },
    /// Nobody that we know.
    #[error("unknown origin: no journal of this name is witnessed here")]
    UnknownOrigin,
    /// Somebody else's.
    #[error("not signed by the journal's key: {0}")]
    Unsigned(NoteFault),
    /// Somebody of security stopped it.
    #[error("held: this witness cosigns nothing of this journal until people release it: {reason}")]
    Held {
        /// What they said.
        reason: String,
    },
    /// Something else was cosigned meanwhile.
    #[error("another checkpoint was cosigned, of {size} records")]
    Conflict {
        /// Its size.
        size: u64,
    },
    /// As many records as were cosigned, and others.
    #[error("another checkpoint was cosigned, of as many records: {size}")]
    Fork {
        /// The size.
        size: u64,
    },
    /// We cosigned it, and do not know that.
    #[error("this witness cosigned {size} records of it and has forgotten: it cosigns no more")]
    Forgotten {
        /// Of how many records there is a cosignature.
        size: u64,
    },
    /// The machine's clock stands at nothing.
    #[error("the clock of this witness is not set")]
    Clock,
    /// More than there is a place for.
    #[error("too long: a checkpoint and its signatures have at most a few kilobytes")]
    TooLong,
    /// It is no continuation.
    #[error("the proof does not show that it continues the checkpoint that was cosigned before")]
    Inconsistent,
    /// Whether somebody stopped it cannot be seen: then somebody did.
    #[error("holds cannot be read: {0}")]
    Holds(std::io::Error),
    /// The disk said no.
    #[error("it could not be kept")]
    NotKept(#[from] StorageError),
}

impl Cosigner {
    /// Opens everything that [`init`] made.
    ///
    /// # Errors
    ///
    /// [`WitnessError`]; nothing that is missing is made anew.
    pub fn open(config: &WitnessConfig) -> Result<Self, WitnessError> {
        let secret = Secret::read(&config.key())?;
        let witness = secret.witness(&config.name)?;
        init::check(config)?;
        let open = |origin: &str| Ok((origin.to_owned(), Known::open(config, origin)?));
        let journals: Result<_, WitnessError> = config.origins().into_iter().map(open).collect();
        Ok(Self {
            secret,
            witness,
            journals: journals?,
            holds: Holds::new(&config.folder),
            noticed: Noticed::default(),
            forgotten: OnceLock::new(),
            failed: Notify::new(),
            wall: clock::wall,
        })
    }

    /// Its public half.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Cosigns the checkpoint of a submission, once it lasts here. Blocks while the disk works.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn add(&self, submission: &str) -> Result<NoteSignature, Refused> {
        let submission = Submission::parse(submission).map_err(Refused::Malformed)?;
        let checkpoint = Checkpoint::parse(&submission.note.text).map_err(Refused::Malformed)?;
        let known = self.journals.get(&checkpoint.origin).ok_or(Refused::UnknownOrigin)?;
        let added = self.add_to(known, checkpoint, submission);
        added.inspect_err(|refused| self.watch(known, refused))
    }

    fn add_to(
        &self,
        known: &Known,
        checkpoint: Checkpoint,
        submission: Submission,
    ) -> Result<NoteSignature, Refused> {
        if let Some((_, size)) = self.forgotten.get() {
            return Err(Refused::Forgotten { size: *size });
        }
        let signed = known.verify(checkpoint, submission, &self.witness)?;
        self.holds.check(known.origin())?;
        let lasting = known.advance(signed, self.wall)?;
        // A hold that came while the disk worked counts too.
        self.holds.check(known.origin())?;
        Ok(self.cosign(&lasting))
    }

    /// What a size and a no are worth, which nobody signs: the newest checkpoint that was cosigned
    /// of a journal, as the journal signed it. By the hash of its origin; `None`: there is none.
    ///
    /// A hold does not keep it back: it was given away before, and is signed by somebody else.
    pub fn kept(&self, hash: &str) -> Option<String> {
        let is_it = |origin: &str| hex::encode(sha256(origin.as_bytes())) == hash;
        let (_, known) = self.journals.iter().find(|(origin, _)| is_it(origin))?;
        known.note()
    }

    fn cosign(&self, lasting: &Lasting) -> NoteSignature {
        let sign = |message: &[u8]| self.secret.sign(message);
        self.witness.cosign(lasting.text(), lasting.seconds(), sign)
    }

    /// After a failed write nobody knows what the disk holds, and after what we were shown nobody
    /// knows what we cosigned: both end it.
    fn watch(&self, known: &Known, refused: &Refused) {
        if let Refused::NotKept(error) = refused {
            tracing::error!(%error, "a checkpoint could not be kept");
            self.failed.notify_one();
        }
        if let Refused::Forgotten { size } = refused
            && self.forgotten.set((known.origin().to_owned(), *size)).is_ok()
        {
            tracing::error!(origin = known.origin(), size, "OUR OWN COSIGNATURE IS NOT KNOWN HERE");
            self.holds.hold_forgotten(known.origin());
            self.failed.notify_one();
        }
        if let Refused::Held { .. } = refused {
            self.notice_holds();
        }
    }

    /// Has the log say which holds came and went.
    fn notice_holds(&self) {
        self.noticed.look(&self.holds, self.journals.keys());
    }

    /// Ends when nothing more may be cosigned, and says why.
    async fn failed(&self) -> WitnessError {
        self.failed.notified().await;
        self.forgotten.get().map_or(WitnessError::Disk, |(origin, size)| WitnessError::Forgotten {
            origin: origin.clone(),
            size: *size,
        })
    }
}

#[cfg(test)]
mod tests;
