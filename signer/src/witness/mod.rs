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
mod follower;
mod holds;
mod http;
mod key;
mod known;
mod pinned;
mod remote;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_policy::note::{Checkpoint, NoteFault, NoteSignature, Witness};
use portcullis_policy::request::sha256;
use portcullis_policy::submission::Submission;
use tokio::sync::Notify;

pub use self::config::{WitnessConfig, WitnessConfigError};
pub use self::cover::{Cover, Covered, Mode, Unwitnessed};
pub use self::follower::{Follower, Pace, Turn};
pub use self::holds::{Holds, Scope};
pub use self::http::Server;
use self::key::Secret;
pub use self::key::SecretError;
use self::known::{Known, Lasting, place};
pub use self::pinned::{OtherJournal, Pinned};
pub use self::remote::{Answer, Remote, Unanswered};
use crate::clock;
use crate::journal::{Apart, ApartError, StorageError};

/// Cosigns checkpoints of the journals that it knows.
pub struct Cosigner {
    secret: Secret,
    witness: Witness,
    journals: BTreeMap<String, Known>,
    holds: Holds,
    failed: Notify,
}

/// What [`init`] made.
#[derive(Debug)]
pub struct Made {
    /// The witness, as signers and verifiers have to know it.
    pub witness: Witness,
    /// Journals that it knew nothing of before.
    pub journals: Vec<String>,
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
        "what was cosigned of {origin} before is not known. If that is nothing, make it known with \
         `portcullis witness init`; otherwise restore the folder: a witness that forgets cosigns \
         what it must not"
    )]
    State {
        /// The journal.
        origin: String,
        /// Why.
        #[source]
        source: ApartError,
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

/// Makes the key and what is kept of each journal, where they are missing.
///
/// # Errors
///
/// [`WitnessError`]; what is there is left as it is.
pub fn init(config: &WitnessConfig) -> Result<Made, WitnessError> {
    config.make_folders()?;
    let path = config.key();
    let is_there = |path: &PathBuf| {
        let fault = |source| WitnessError::Folder { path: path.clone(), source };
        path.try_exists().map_err(fault)
    };
    if !is_there(&path)? {
        for journal in &config.journals {
            if is_there(&place(config, &journal.name))? {
                return Err(WitnessError::KeyLost { path });
            }
        }
        Secret::make(&path)?;
    }
    let witness = Secret::read(&path)?.witness(&config.name)?;
    let mut journals = Vec::new();
    for journal in &config.journals {
        let origin = journal.name.clone();
        let state = |source| WitnessError::State { origin: origin.clone(), source };
        if Apart::make(&place(config, &origin)).map_err(state)? {
            journals.push(origin);
        }
    }
    Ok(Made { witness, journals })
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
        let open = |journal| Ok(Known::open(config, journal)?.named());
        let journals: Result<_, WitnessError> = config.journals.iter().map(open).collect();
        let holds = Holds::new(&config.folder);
        Ok(Self { secret, witness, journals: journals?, holds, failed: Notify::new() })
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
        let signed = known.verify(checkpoint, submission)?;
        self.holds.check(known.origin())?;
        let lasting = known.advance(signed).inspect_err(|refused| self.watch(refused))?;
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
        let seconds = clock::wall().0.checked_div(1_000).unwrap_or(0);
        self.witness.cosign(lasting.text(), seconds, |message| self.secret.sign(message))
    }

    /// After a failed write nobody knows what the disk holds.
    fn watch(&self, refused: &Refused) {
        if let Refused::NotKept(error) = refused {
            tracing::error!(%error, "a checkpoint could not be kept");
            self.failed.notify_one();
        }
    }

    /// Ends when the disk has failed.
    async fn failed(&self) {
        self.failed.notified().await;
    }
}

#[cfg(test)]
mod tests;
