//! The genesis ceremony: a folder with a draft, its statement, and the signatures that come in from
//! the first people's own machines.

use std::path::{Path, PathBuf};

use portcullis_policy::credential::{Credential, Evidence, Purpose};
use portcullis_policy::id::{CredentialId, PersonId};
use portcullis_policy::record::{Genesis, Signature};
use portcullis_policy::statement;

use super::InitError;

/// The folder of one ceremony.
#[derive(Debug)]
pub(super) struct Ceremony {
    folder: PathBuf,
    draft: Genesis,
}

/// Somebody who has not signed yet, and with what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outstanding {
    /// Who.
    pub person: PersonId,
    /// With what.
    pub credential: CredentialId,
}

impl Ceremony {
    /// Goes on with the ceremony in this folder, or begins one with what is proposed.
    pub(super) fn open(
        folder: &Path,
        propose: impl FnOnce() -> Result<Genesis, InitError>,
    ) -> Result<Self, InitError> {
        let draft_path = folder.join(DRAFT);
        if draft_path.exists() {
            let text = super::read_text(&draft_path)?;
            let draft: Genesis = serde_json::from_str(&text).map_err(|error| InitError::Parse {
                path: draft_path,
                message: format!("not a draft of ours: {error}"),
            })?;
            let proposed = Genesis { salt: draft.salt, ..propose()? };
            if proposed != draft {
                return Err(InitError::OtherDraft { folder: folder.into() });
            }
            return Ok(Self { folder: folder.into(), draft });
        }
        let draft = propose()?;
        let ceremony = Self { folder: folder.into(), draft };
        std::fs::create_dir_all(folder)
            .map_err(|source| InitError::Write { path: folder.into(), source })?;
        ceremony.write(STATEMENT, &statement::genesis(&ceremony.draft))?;
        // The draft last: where it is, the statement is too.
        ceremony.write(DRAFT, &serde_json::to_string(&ceremony.draft)?)?;
        Ok(ceremony)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), InitError> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|source| InitError::Write { path, source })
    }

    /// Where the text is that everybody signs.
    pub(super) fn statement_path(&self) -> PathBuf {
        self.folder.join(STATEMENT)
    }

    /// The genesis with every signature that is there; and whose are not.
    pub(super) fn collect(&self) -> Result<(Genesis, Vec<Outstanding>), InitError> {
        let text = statement::genesis(&self.draft);
        let evidence = self.evidence()?;
        let mut used = vec![false; evidence.len()];
        let (mut signatures, mut missing) = (Vec::new(), Vec::new());
        for (person, credential) in credentials(&self.draft) {
            let mut found = None;
            for ((_, evidence), used) in evidence.iter().zip(&mut used) {
                if credential.verify(Purpose::Genesis, text.as_bytes(), evidence).is_ok() {
                    *used = true;
                    found = Some(evidence.clone());
                }
            }
            let id = credential.id();
            match found {
                Some(evidence) => signatures.push(Signature { credential: id, evidence }),
                None => missing.push(Outstanding { person: person.clone(), credential: id }),
            }
        }
        let stray = evidence.iter().zip(&used).find(|(_, used)| !**used);
        if let Some(((path, _), _)) = stray {
            return Err(InitError::Stray { path: path.clone() });
        }
        Ok((Genesis { signatures, ..self.draft.clone() }, missing))
    }

    /// Every signature file in the folder.
    fn evidence(&self) -> Result<Vec<(PathBuf, Evidence)>, InitError> {
        let unread = |source| InitError::Read { path: self.folder.clone(), source };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .map_err(unread)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "sig"))
            .collect();
        paths.sort_unstable();
        paths
            .into_iter()
            .map(|path| {
                let text = super::read_text(&path)?;
                // A passkey's comes as records hold it, an SSH key's as ssh-keygen writes it.
                let evidence = serde_json::from_str(&text).unwrap_or(Evidence::Ssh(text));
                Ok((path, evidence))
            })
            .collect()
    }
}

/// Everybody's credentials: each signs.
pub(super) fn credentials(genesis: &Genesis) -> impl Iterator<Item = (&PersonId, &Credential)> {
    let people = genesis.people.iter();
    people.flat_map(|person| person.credentials.iter().map(|credential| (&person.id, credential)))
}

const DRAFT: &str = "genesis.json";
const STATEMENT: &str = "statement.txt";
