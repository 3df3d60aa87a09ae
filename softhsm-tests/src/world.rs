//! A whole vault in a throw-away folder: token, certificates, people, book, signer.
//!
//! One service (`payouts`), one that no rule names (`reports`), and people with one role each.

use std::fs;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256, address};
use portcullis_client::wire::{CreateKeyRequest, ReadJournalRequest};
use portcullis_client::{
    Answer, Client, ClientConfig, ControlClient, KeyRef, SignError, SignedTransaction,
};
use tempfile::TempDir;

use crate::people::{GENESIS, Pens};
use crate::pki::{Authority, Issued, Leaf};
use crate::server::{Installation, Plane, Server, Settings};
use crate::token::{Through, Token};
use crate::tx::{self, Kind, Payment};

/// Whatever went wrong: a suite only prints it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The chain every book here names.
pub const CHAIN: u64 = 31_337;

/// The one recipient every book here names.
pub const SUPPLIER: Address = address!("00000000000000000000000000000000000a11ce");

/// A token every book here registers, with 6 decimals.
pub const USDC: Address = address!("00000000000000000000000000000000000c0de0");

/// Somebody no book names.
pub const STRANGER: Address = address!("000000000000000000000000000000000000dead");

/// The service that may sign.
pub const PAYOUTS: &str = "spiffe://test/payouts";

/// A vault at rest.
pub struct Vault {
    /// Its folder; gone with it.
    pub folder: TempDir,
    /// Its token.
    pub token: Token,
    /// Who issues services' certificates.
    pub services: Authority,
    /// Who issues people's certificates.
    pub people: Authority,
    /// The signer's settings.
    pub settings: Settings,
    /// The signer's files.
    pub installation: Installation,
    /// What people sign with.
    pub pens: Pens,
}

/// A book in which `payouts` may pay [`SUPPLIER`].
#[derive(Clone, Debug)]
pub struct BookText {
    /// Native coin per transaction, fees included.
    pub per_tx: String,
    /// Native coin per window.
    pub window: String,
    /// More lines for the key.
    pub more: String,
    /// More tables.
    pub tables: String,
}

impl Default for BookText {
    fn default() -> Self {
        Self {
            per_tx: "10 ETH".into(),
            window: "\"25 ETH / 1h\"".into(),
            more: String::new(),
            tables: String::new(),
        }
    }
}

impl std::fmt::Display for BookText {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_tx, window, more, tables } = self;
        // Whoever brings a group brings all of them.
        let usual = "[group]\ntreasury = [\"alan\", \"olga\"]";
        let group = if tables.contains("[group]") { "" } else { usual };
        let supplier = SUPPLIER.to_checksum(None);
        let usdc = USDC.to_checksum(None);
        write!(
            out,
            r#"version = 1
[chain.anvil]
id = {CHAIN}
native = "ETH"
[asset.USDC]
kind = "erc20"
chain = "anvil"
address = "{usdc}"
decimals = 6
[list]
suppliers = ["{supplier}"]
{group}
[caller."{PAYOUTS}"]
owners = ["olga"]
[caller."spiffe://test/reports"]
owners = ["olga"]
{tables}
[key.hot]
callers = ["{PAYOUTS}"]
chains = ["anvil"]
native = {{ to = "@suppliers", per_tx = "{per_tx}", window = [{window}] }}
fees = {{ per_tx = "1 ETH", window = "20 ETH / 1h", max_priority_fee = "5 gwei", counts_as = "native" }}
rate = {{ per_caller = "unlimited", per_key = "unlimited", parked = 5 }}
token.USDC = {{ to = "@suppliers", per_tx = "1_000 USDC", window = "5_000 USDC / 1h" }}
{more}
"#
        )
    }
}

impl Vault {
    /// Makes everything, with this first book, and starts nothing.
    pub fn new(through: Through, book: &str) -> Result<Self, Failure> {
        Self::with(through, book, |_| {})
    }

    /// The same with settings of one's own.
    pub fn with(
        through: Through,
        book: &str,
        adjust: impl FnOnce(&mut Settings),
    ) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("portcullis-vault-").tempdir()?;
        let vault = Self::at(folder, through, adjust)?;
        vault.init(book)?;
        Ok(vault)
    }

    fn at(
        folder: TempDir,
        through: Through,
        adjust: impl FnOnce(&mut Settings),
    ) -> Result<Self, Failure> {
        let token = Token::fresh(through)?;
        let services = Authority::new(&sub(folder.path(), "services")?, "Test services CA")?;
        let people = Authority::new(&sub(folder.path(), "people")?, "Test people CA")?;
        let data_server = services.issue(&Leaf::loopback_server("data-plane"))?;
        let control_server = people.issue(&Leaf::loopback_server("control-plane"))?;
        let mut data_plane = Plane::new(&data_server, &services.certificate());
        data_plane.crl = vec![services.revoke(&[])?];
        let control_plane = Plane::new(&control_server, &people.certificate());
        let data = folder.path().join("data");
        let mut settings = Settings::new(&data, &token, [data_plane, control_plane]);
        adjust(&mut settings);
        let installation = Installation::new(folder.path(), &settings, &token)?;
        let pens = Pens::new(&folder.path().join("pens"))?;
        Ok(Self { folder, token, services, people, settings, installation, pens })
    }

    /// A vault for money: its people have keys of their own, have signed genesis, and decide
    /// together.
    pub fn governed(through: Through, book: &str) -> Result<Self, Failure> {
        let vault = Self::unsigned(through, book, QUORUMS)?;
        let genesis = vault.folder.path().join("genesis.toml");
        // Nobody has signed yet.
        let refused = vault.installation.init(&genesis).err().ok_or("made without signatures")?;
        if !refused.to_string().contains("75") {
            return Err(refused.into());
        }
        let ceremony = vault.folder.path().join("ceremony");
        let statement = fs::read_to_string(ceremony.join("statement.txt"))?;
        for (person, _) in DECIDERS {
            let signature = vault.pens.sign(person, GENESIS, &statement)?;
            fs::write(ceremony.join(format!("{person}.sig")), signature)?;
        }
        vault.installation.init(&genesis)?;
        Ok(vault)
    }

    /// The same with no signature yet, and no journal.
    pub fn unsigned(through: Through, book: &str, quorums: &str) -> Result<Self, Failure> {
        let folder = Self::prepared(through)?;
        fs::write(folder.folder.path().join("book.toml"), book)?;
        let mut text = "environment = \"development\"\nbook = \"book.toml\"\n".to_owned();
        for (person, role) in OTHERS {
            text.push_str(&entry(person, role, &[]));
        }
        for (person, role) in DECIDERS {
            text.push_str(&entry(person, role, &[folder.pens.line(person)?]));
        }
        text.push_str(quorums);
        fs::write(folder.folder.path().join("genesis.toml"), text)?;
        Ok(folder)
    }

    fn prepared(through: Through) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("portcullis-vault-").tempdir()?;
        Self::at(folder, through, |_| {})
    }

    fn init(&self, book: &str) -> Result<(), Failure> {
        fs::write(self.folder.path().join("book.toml"), book)?;
        let genesis = self.folder.path().join("genesis.toml");
        let mut text = "environment = \"development\"\nbook = \"book.toml\"\n".to_owned();
        for (person, role) in PEOPLE {
            text.push_str(&entry(person, role, &[]));
        }
        fs::write(&genesis, text)?;
        Ok(self.installation.init(&genesis)?)
    }

    /// Starts the signer.
    pub fn serve(&self) -> Result<Server, Failure> {
        Ok(self.installation.serve()?)
    }

    /// A client configuration with a fresh certificate of this service.
    pub fn service(&self, server: &Server, uri: &str) -> Result<ClientConfig, Failure> {
        let name = uri.rsplit('/').next().unwrap_or("service");
        let issued = self.services.issue(&Leaf::client_uri(name, uri))?;
        let address = server.addresses().data_plane;
        Ok(config(&format!("https://{address}"), &self.services, &issued))
    }

    /// A connected client of this service.
    pub async fn client(&self, server: &Server, uri: &str) -> Result<Client, Failure> {
        Ok(Client::connect(&self.service(server, uri)?).await?)
    }

    /// A configuration for the control plane with a fresh certificate of this person.
    pub fn person(&self, server: &Server, person: &str) -> Result<ClientConfig, Failure> {
        let issued = self.people.issue(&Leaf::client_uri(person, &person_uri(person)))?;
        let address = server.addresses().control_plane;
        Ok(config(&format!("https://{address}"), &self.people, &issued))
    }

    /// A connected control client of this person.
    pub async fn control(&self, server: &Server, person: &str) -> Result<ControlClient, Failure> {
        Ok(ControlClient::connect(&self.person(server, person)?).await?)
    }

    /// Makes the key `hot`, with the tag `web`.
    pub async fn hot_key(&self, server: &Server) -> Result<KeyRef, Failure> {
        self.key(server, "hot").await
    }

    /// Makes a key with this label and the tag `web`.
    pub async fn key(&self, server: &Server, label: &str) -> Result<KeyRef, Failure> {
        self.key_for(server, label, "payments").await
    }

    /// The same for another purpose.
    pub async fn key_for(
        &self,
        server: &Server,
        label: &str,
        purpose: &str,
    ) -> Result<KeyRef, Failure> {
        let request = CreateKeyRequest {
            label: label.into(),
            tags: vec!["web".into()],
            purpose: purpose.into(),
            owner: String::new(),
            environment: "development".into(),
            chains: vec![CHAIN],
            review_by_ms: in_a_year(),
        };
        let key = self.control(server, "olga").await?.create_key(request).await?;
        Ok(KeyRef { id: key.key_id.parse()?, address: Address::try_from(&key.address[..])? })
    }

    /// What the journal says, line by line, with the attachments, as an auditor would export it.
    pub async fn export(&self, server: &Server) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let control = self.control(server, "ada").await?;
        let mut journal = control.read_journal(ReadJournalRequest::default()).await?;
        let mut lines = Vec::new();
        while let Some(page) = journal.next().await? {
            lines.extend(page.lines.into_iter().map(|line| (line.sequence, line.content)));
        }
        Ok(lines)
    }
}

/// A payment of type 2 to [`SUPPLIER`]: 21,000 gas at 2 gwei.
pub fn payment(nonce: u64, value: U256) -> Vec<u8> {
    let mut payment = Payment::new(CHAIN, nonce, SUPPLIER, value);
    payment.gas_limit = 21_000;
    tx::preimage(&payment.unsigned(Kind::Eip1559))
}

/// The worst-case fee of [`payment`], in wei.
pub const PAYMENT_FEE: u64 = 21_000 * 2_000_000_000;

/// Asks for a signature under a fresh request id.
pub async fn sign(
    client: &Client,
    key: &KeyRef,
    preimage: &[u8],
) -> Result<SignedTransaction, SignError> {
    match client.sign_transaction(key, &client.new_request_id(), preimage).await? {
        Answer::Signed(signed) => Ok(signed),
        Answer::Parked(parked) => panic!("parked: {parked:?}"),
    }
}

/// The stable reason of a refusal; "signed" if it was none.
pub async fn reason(client: &Client, key: &KeyRef, preimage: &[u8]) -> String {
    match sign(client, key, preimage).await {
        Ok(_) => "signed".into(),
        Err(error) => error.reason().map_or_else(|| format!("{error:?}"), str::to_owned),
    }
}

/// Whole ether.
pub fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

/// The people of every vault here, with their one role.
const PEOPLE: [(&str, &str); 6] = [
    ("ada", "auditor"),
    ("alan", "approver"),
    ("olga", "operator"),
    ("petra", "pricer"),
    ("sam", "security"),
    ("wanda", "watcher"),
];

/// Those of a governed vault who decide nothing.
const OTHERS: [(&str, &str); 3] = [("ada", "auditor"), ("petra", "pricer"), ("wanda", "watcher")];

/// Those who do, with one role each.
pub const DECIDERS: [(&str, &str); 8] = [
    ("alan", "approver"),
    ("amy", "approver"),
    ("art", "approver"),
    ("olga", "operator"),
    ("oscar", "operator"),
    ("sam", "security"),
    ("sid", "security"),
    ("sue", "security"),
];

/// What it takes in a governed vault. Keys in files count, because no security key is at hand.
pub const QUORUMS: &str = r#"
[quorum.thaw]
need = "2 of security"
expires = "1h"
execute = "1h"
delay = "1s"
credentials = "file"
[quorum.revoke]
need = "2 of security"
expires = "1h"
credentials = "file"
[quorum.drain]
need = "2 of security + 1 of approver"
expires = "1h"
execute = "1h"
credentials = "file"
[quorum.destroy]
need = "2 of security + 1 of approver"
expires = "1h"
execute = "1h"
delay = "1s"
credentials = "file"
[quorum.widen]
need = "2 of approver"
expires = "1h"
delay = "1s"
credentials = "file"
[quorum.people]
need = "2 of security + 1 of approver"
expires = "1h"
credentials = "file"
"#;

/// The usual book, for people who decide: above one ether two of treasury must agree.
pub fn governed_book() -> BookText {
    let more = "approve = [{ above = \"1 ETH\", need = \"2 of treasury\", expires = \"30m\", \
        execute = \"30m\", credentials = \"file\" }]";
    let tables = "[group]\ntreasury = [\"alan\", \"amy\", \"art\"]\n";
    let text = BookText { more: more.into(), ..BookText::default() };
    BookText { tables: tables.into(), ..text }
}

fn entry(person: &str, role: &str, credentials: &[String]) -> String {
    let control = person_uri(person);
    format!(
        "[[person]]\nid = \"{person}\"\nroles = [\"{role}\"]\ncontrol = \"{control}\"\n\
         credentials = {credentials:?}\n"
    )
}

/// When a key that is made now is to be looked at again.
pub fn in_a_year() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    now.saturating_add(365 * 86_400_000)
}

fn person_uri(person: &str) -> String {
    format!("spiffe://test/people/{person}")
}

/// How to connect with this certificate.
pub fn config(endpoint: &str, authority: &Authority, issued: &Issued) -> ClientConfig {
    let (certificate, key) = (issued.certificate.clone(), issued.private_key.clone());
    ClientConfig::new(endpoint, authority.certificate(), certificate, key)
}

fn sub(folder: &Path, name: &str) -> Result<PathBuf, std::io::Error> {
    let path = folder.join(name);
    fs::create_dir_all(&path)?;
    Ok(path)
}
