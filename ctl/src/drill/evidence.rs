//! The evidence of a drill: one JSON file that a person signs, and what it is made of.
//!
//! What is in it is either measured by whoever ran the drill, and then only as good as their word,
//! or a record of the journal with the proof that it is one. `verify.rs` holds the one against the
//! other.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_policy::credential::Credential;
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// The bundle.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evidence {
    /// Of this file's form.
    pub(super) version: u64,
    /// What the drill is called.
    pub(super) drill: String,
    /// Where it was.
    pub(super) vault: Vault,
    /// Who ran it, and what they sign with.
    pub(super) by: Runner,
    /// When it began, milliseconds since 1970 by the journal's sure time.
    pub(super) began_at_ms: u64,
    /// What was to be done.
    pub(super) plan: Plan,
    /// On which key. `None`: it was never made.
    pub(super) canary: Option<Canary>,
    /// Whether every step found what it must.
    pub(super) good: bool,
    /// In the order in which they were to be taken.
    pub(super) steps: Vec<StepTold>,
    /// From the first step to the last.
    pub(super) whole_ms: u64,
    /// What the live callers saw.
    pub(super) load: Option<LoadTold>,
    /// What the stop said.
    pub(super) freeze: Option<FreezeTold>,
    /// The journal as it was read.
    pub(super) tree: Option<TreeHead>,
    /// Every record about the canary.
    pub(super) records: Vec<Proved>,
}

/// A vault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vault {
    /// Hash of its genesis record: 64 hexadecimal digits.
    pub(super) id: String,
    /// What it is for.
    pub(super) environment: String,
    /// Version of its signer.
    pub(super) signer_version: String,
}

/// Who ran it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runner {
    /// Their id.
    pub(super) person: String,
    /// What the bundle is signed with, as records hold it.
    pub(super) credential: Credential,
    /// Version of the program.
    pub(super) portctl_version: String,
}

/// The key that was made to be destroyed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Canary {
    pub(super) label: String,
    pub(super) key_id: String,
    pub(super) address: String,
    pub(super) chain_id: u64,
    /// Whom the transaction pays nothing.
    pub(super) to: String,
    /// What it is at the end.
    pub(super) state: String,
    /// Id of the key that took its place, if one did.
    pub(super) successor: Option<String>,
    /// What its absence from the token proves, if it is gone.
    pub(super) absence: Option<String>,
}

/// A step.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTold {
    pub(super) name: String,
    pub(super) verdict: StepVerdict,
    /// After the first step began.
    pub(super) began_ms: u64,
    pub(super) took_ms: u64,
    pub(super) goal_ms: Option<u64>,
    /// What was found, or what was wrong; a line each.
    pub(super) found: Vec<String>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepVerdict {
    /// It found what it must.
    Held,
    /// It did not.
    Failed,
    /// One before it failed.
    NotReached,
}

impl StepTold {
    /// Whether it took longer than it should.
    pub(super) fn is_slow(&self) -> bool {
        self.verdict == StepVerdict::Held && self.goal_ms.is_some_and(|goal| self.took_ms > goal)
    }
}

/// What the live callers saw, by their own clock.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadTold {
    pub(super) callers: u64,
    /// Requests in all.
    pub(super) asked: u64,
    /// Signatures that came before the stop was acknowledged.
    pub(super) signed_before: u64,
    /// Signatures that were on the way when it was: asked for before it, there after it.
    pub(super) on_the_way: u64,
    /// Requests that were made after it.
    pub(super) asked_after: u64,
    /// Signatures that they gave. Anything but 0 is a broken promise.
    pub(super) signed_after: u64,
    /// Requests that were not answered: throttled, or the connection was lost.
    pub(super) unanswered_after: u64,
    /// What they were refused for, by stable reason.
    pub(super) refused_after: BTreeMap<String, u64>,
}

/// What the stop said.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FreezeTold {
    /// Its record.
    pub(super) sequence: u64,
    /// The last signature that was released before it; 0: none.
    pub(super) last_released_sequence: u64,
    /// Signatures that were ready or under way, and withheld.
    pub(super) withheld: u64,
}

/// Size and root of the journal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeHead {
    pub(super) size: u64,
    /// RFC 6962 root, 64 hexadecimal digits.
    pub(super) root: String,
}

/// A record, and that it is one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proved {
    /// Its place among the leaves, from 0.
    pub(super) index: u64,
    /// The canonical line, which is what is hashed.
    pub(super) line: String,
    /// From the leaf up to the root: 64 hexadecimal digits each.
    pub(super) proof: Vec<String>,
}

impl Evidence {
    /// Steps that took longer than they should, the whole too.
    pub(super) fn missed(&self) -> Vec<&str> {
        let slow = self.steps.iter().filter(|step| step.is_slow()).map(|step| step.name.as_str());
        let whole = self.plan.goal(super::WHOLE).filter(|goal| self.whole_ms > goal.0);
        slow.chain(whole.map(|_| super::WHOLE)).collect()
    }

    /// How long a step took, if it was taken to its end.
    pub(super) fn took(&self, name: &str) -> Option<u64> {
        let held = |step: &&StepTold| step.name == name && step.verdict == StepVerdict::Held;
        self.steps.iter().find(held).map(|step| step.took_ms)
    }

    /// The bytes that are signed and hashed.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Where the parts of a bundle are.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub(super) folder: PathBuf,
}

impl Bundle {
    /// A folder that holds no other drill's evidence. Made if it is not there.
    pub(super) fn create(folder: PathBuf) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&folder)?;
        let bundle = Self { folder };
        if bundle.evidence().exists() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        Ok(bundle)
    }

    pub(super) fn evidence(&self) -> PathBuf {
        self.folder.join("evidence.json")
    }

    pub(super) fn signature(&self) -> PathBuf {
        self.folder.join("evidence.json.sig")
    }

    pub(super) fn page(&self) -> PathBuf {
        self.folder.join("evidence.html")
    }
}

/// Durable, and never over a file that is there.
pub(super) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()
}

/// Of the form that is written.
pub(super) const VERSION: u64 = 2;
