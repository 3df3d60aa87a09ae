//! `people enrolment`: on a new person's own machine, signs that they hold a key. The file it gives
//! is handed to whoever proposes to add them.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::credential::{Credential, Evidence, Purpose};
use portcullis_policy::id::PersonId;
use portcullis_policy::statement;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::approvals::ssh::Signer;
use crate::approvals::statement::framed;
use crate::connection::{ConnectionArgs, VaultHex};
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};
use crate::people::{PeopleFault, read_json, write_new};

#[derive(Args, Debug)]
pub(crate) struct EnrolmentArgs {
    /// The id that you have, or will have: 1 to 64 of a-z, 0-9 and -.
    #[arg(long, value_name = "ID")]
    person: PersonId,
    /// The SSH key, public or private half: of type ed25519, or ed25519-sk on a security key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write it [default: standard output].
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A credential, and the signature by which its holder agrees.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrolment {
    pub(crate) credential: Credential,
    pub(crate) possession: Evidence,
}

/// Needs no signer if the vault is named by --vault or in the configuration: who is not yet among
/// the people can ask none.
pub(crate) async fn run(
    args: &EnrolmentArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let vault = match connection.pinned_vault()? {
        Some(vault) => vault,
        None => VaultHex::of(&connection.control().await?.status().await?.vault_id),
    };
    let signer = Signer::at(&args.key)?;
    let credential = signer.credential().clone();
    let text = statement::enrolment(vault.as_str(), &args.person, &credential.id());
    output.aside(&framed("what follows is exactly what you sign", &text, output));
    let possession = signer.sign(Purpose::Enrolment, &text, output).await?;
    let id = credential.id();
    let enrolment = serde_json::to_string(&Enrolment { credential, possession })?;
    let Some(file) = &args.file else {
        output.data(&enrolment)?;
        return Ok(Exit::Done);
    };
    write_new(file, &format!("{enrolment}\n"))?;
    let human = fields(&[
        ("written", file.display().to_string()),
        ("person", args.person.to_string()),
        ("credential", id.to_string()),
        ("vault", vault.as_str().to_owned()),
    ]);
    let json = json!({
        "file": file,
        "person": args.person.as_str(),
        "credential_id": id.as_str(),
        "vault_id": format!("0x{}", vault.as_str()),
    });
    output.result(&human, &json)?;
    output.note("hand it to whoever proposes you: portctl people add, or add-credential");
    Ok(Exit::Done)
}

impl Enrolment {
    /// What a file says, if the holder of its credential agreed to be this person in this vault.
    pub(crate) fn read(path: &Path, person: &PersonId, vault: &VaultHex) -> Result<Self, Failure> {
        let enrolment: Self = read_json(path)?;
        let id = enrolment.credential.id();
        let text = statement::enrolment(vault.as_str(), person, &id);
        let proof =
            enrolment.credential.verify(Purpose::Enrolment, text.as_bytes(), &enrolment.possession);
        match proof {
            Ok(_) => Ok(enrolment),
            Err(source) => Err(PeopleFault::Possession {
                path: path.to_owned(),
                person: person.to_string(),
                credential: id.to_string(),
                source,
            }
            .into()),
        }
    }
}
