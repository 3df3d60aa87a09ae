//! `--witness`: who, beside the journal's own key, must stand for a checkpoint. That key alone says
//! nothing of a fork: whoever has it signs two journals.

use std::time::Duration;

use clap::Args;
use portcullis_policy::note::{
    Checkpoint, Cosigned, Note, NoteFault, QuorumFault, Witness, Witnesses,
};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use crate::failure::Exit;

#[derive(Args, Debug)]
pub(crate) struct WitnessArgs {
    /// A witness that must have cosigned the checkpoint: NAME+ID+KEY, as `portcullis witness init`
    /// prints it. May be given more than once.
    #[arg(long = "witness", value_name = "KEY")]
    witnesses: Vec<String>,
    /// How many of them must have [default: all].
    #[arg(long = "witnesses-needed", value_name = "N", requires = "witnesses")]
    needed: Option<usize>,
}

/// Witnesses that nobody can ask for, or that did not cosign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessFault {
    /// Not a key.
    #[error("--witness {given} is no key of a witness: {fault}")]
    Key { given: String, fault: NoteFault },
    /// None of them, one twice, or too many needed.
    #[error("--witness, --witnesses-needed: {0}")]
    Wanted(QuorumFault),
    /// They did not.
    #[error(
        "the checkpoint over {size} records is not witnessed: {fault}. It may be of a journal that \
         was shown to nobody else: look whether the signer names trouble with its witness"
    )]
    Missing { size: u64, fault: QuorumFault },
}

impl WitnessFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Key { .. } | Self::Wanted(_) => Exit::Usage,
            Self::Missing { .. } => Exit::Unwitnessed,
        }
    }
}

impl WitnessArgs {
    /// Whom to ask for; `None`: nobody.
    pub(super) fn read(&self) -> Result<Wanted, WitnessFault> {
        if self.witnesses.is_empty() {
            return Ok(Wanted(None));
        }
        let parse = |given: &String| {
            let fault = |fault| WitnessFault::Key { given: given.clone(), fault };
            Witness::parse(given).map_err(fault)
        };
        let known = self.witnesses.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let witnesses = Witnesses::new(known, self.needed).map_err(WitnessFault::Wanted)?;
        Ok(Wanted(Some(witnesses)))
    }
}

/// The witnesses that are wanted, if any are.
pub(super) struct Wanted(Option<Witnesses>);

impl Wanted {
    /// Whether there is nobody to wait for: a cosignature follows a checkpoint by a second or so.
    pub(super) fn is_met(&self, note: &str) -> bool {
        let Some(witnesses) = &self.0 else { return true };
        let checked = Note::parse(note).map(|note| witnesses.check(&note));
        !matches!(checked, Ok(Err(QuorumFault::Missing { .. })))
    }

    /// Who cosigned a note; nobody, if nobody is wanted.
    pub(super) fn check(&self, note: &Note, size: u64) -> Result<Vec<By>, WitnessFault> {
        let Some(witnesses) = &self.0 else { return Ok(Vec::new()) };
        let missing = |fault| WitnessFault::Missing { size, fault };
        Ok(by(&witnesses.check(note).map_err(missing)?))
    }

    /// How much of a journal is witnessed, of checkpoints that are known to be its own.
    pub(super) fn of_all(&self, notes: &[Note]) -> Option<Witnessed> {
        let witnesses = self.0.as_ref()?;
        let mut all = Witnessed { size: 0, by: Vec::new(), fault: None };
        for note in notes {
            let Ok(Checkpoint { size, .. }) = Checkpoint::parse(&note.text) else { continue };
            match witnesses.check(note) {
                Ok(cosigned) if size >= all.size => (all.size, all.by) = (size, by(&cosigned)),
                Ok(_) => {}
                Err(fault) => all.fault = Some(WitnessFault::Missing { size, fault }),
            }
        }
        Some(all)
    }
}

/// How much of a journal witnesses stand for.
pub(super) struct Witnessed {
    /// Its first so many records.
    pub(super) size: u64,
    pub(super) by: Vec<By>,
    /// Why it is no more.
    pub(super) fault: Option<WitnessFault>,
}

impl Witnessed {
    /// Whether it is less than the journal itself signed.
    pub(super) fn is_short_of(&self, attested: u64) -> bool {
        self.size == 0 || self.size < attested
    }

    pub(super) fn warning(&self, attested: u64) -> String {
        let why = self.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
        format!(
            "NOT WITNESSED: {attested} records are attested by the journal's own key, and {} by \
             the witnesses{why}",
            self.size
        )
    }
}

/// A witness, and when it cosigned.
pub(super) struct By {
    name: String,
    seconds: u64,
}

fn by(cosigned: &Cosigned) -> Vec<By> {
    let by = cosigned.by.iter();
    by.map(|(name, seconds)| By { name: name.clone(), seconds: *seconds }).collect()
}

/// For people.
pub(super) fn words(by: &[By]) -> String {
    let word = |by: &By| {
        let at = rfc3339(by.seconds.saturating_mul(1_000));
        format!("{} at {at}", by.name)
    };
    by.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// For machines.
pub(super) fn json(by: &[By]) -> Value {
    by.iter().map(|by| json!({ "witness": by.name, "seconds": by.seconds })).collect()
}

/// How often a checkpoint is asked for that is not cosigned yet.
pub(super) const TRIES_MAX: u32 = 10;
/// Between two of them.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
