//! Where the signer is and who we are: flags first, then the configuration file.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_client::{Client, ClientConfig, ControlClient};
use serde::Deserialize;

use crate::failure::Failure;

/// Options every verb that connects understands. A flag wins over the file.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Configuration file [default: $PORTCTL_CONFIG, or ./portctl.toml].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// https://host:port of the signer's control plane (of its data plane for `sign`).
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
    /// Name in the signer's certificate, if it is not the endpoint's host.
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
    /// PEM file of the authority that issued the signer's certificate.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of your certificate.
    #[arg(long, global = true, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// PEM file of your private key.
    #[arg(long, global = true, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The vault's id, 64 hexadecimal digits: statements of any other vault are not signed.
    #[arg(long, global = true, value_name = "HEX", value_parser = vault_id)]
    vault: Option<VaultHex>,
}

/// A vault's id as statements write it: 64 lower-case hexadecimal digits, without 0x.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct VaultHex(String);

impl VaultHex {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VaultHex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        vault_id(&text)
    }
}

fn vault_id(text: &str) -> Result<VaultHex, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase();
    let sound = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let wrong = || "a vault's id is 64 hexadecimal digits: `portctl status` prints it".to_owned();
    if sound { Ok(VaultHex(digits)) } else { Err(wrong()) }
}

impl ConnectionArgs {
    /// The vault that we are told to believe in, if we are told.
    pub(crate) fn pinned_vault(&self) -> Result<Option<VaultHex>, Failure> {
        match &self.vault {
            Some(vault) => Ok(Some(vault.clone())),
            None => Ok(self.file()?.vault),
        }
    }

    /// A connection to the control plane.
    pub(crate) async fn control(&self) -> Result<ControlClient, Failure> {
        let file = self.file()?;
        let config = self.client_config(file.control, "")?;
        Ok(ControlClient::connect(&config).await?)
    }

    /// A connection to the data plane.
    pub(crate) async fn data(&self) -> Result<Client, Failure> {
        let file = self.file()?;
        let config = self.client_config(file.data, "[data_plane] ")?;
        Ok(Client::connect(&config).await?)
    }

    fn client_config(&self, file: Plane, section: &'static str) -> Result<ClientConfig, Failure> {
        let missing = |setting| ConnectionFault::Missing { section, setting };
        let path = |flag: &Option<PathBuf>, file: Option<PathBuf>, setting| {
            flag.clone().or(file).ok_or_else(|| missing(setting))
        };
        let endpoint =
            self.endpoint.clone().or(file.endpoint).ok_or_else(|| missing("endpoint"))?;
        let mut config = ClientConfig::new(
            endpoint,
            path(&self.ca, file.ca, "ca")?,
            path(&self.certificate, file.certificate, "certificate")?,
            path(&self.private_key, file.private_key, "private_key")?,
        );
        config.server_name = self.server_name.clone().or(file.server_name);
        Ok(config)
    }

    /// The file that was named; or the one in the working folder, if there is one.
    fn file(&self) -> Result<Planes, ConnectionFault> {
        let named = self.config.clone();
        let named = named.or_else(|| std::env::var_os("PORTCTL_CONFIG").map(PathBuf::from));
        match named {
            Some(path) => read(&path),
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE)),
            None => Ok(Planes::default()),
        }
    }
}

/// Both planes, paths resolved.
#[derive(Debug, Default)]
struct Planes {
    control: Plane,
    data: Plane,
    vault: Option<VaultHex>,
}

/// One plane as the file may give it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plane {
    endpoint: Option<String>,
    server_name: Option<String>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
}

/// The file. Its own fields are the control plane's; spelled out, because serde cannot both
/// flatten and refuse unknown fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoint: Option<String>,
    server_name: Option<String>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    vault: Option<VaultHex>,
    data_plane: Option<Plane>,
}

/// A configuration that does not say where to connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionFault {
    /// The file is not there or not readable.
    #[error("the configuration file {path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// It is not the TOML we want.
    #[error("the configuration file {path} is faulty", path = path.display())]
    Parse { path: PathBuf, source: toml::de::Error },
    /// A setting is nowhere.
    #[error(
        "{setting} is not set: give --{flag}, or {section}{setting} in portctl.toml (see --config)",
        flag = setting.replace('_', "-")
    )]
    Missing { section: &'static str, setting: &'static str },
}

fn read(path: &Path) -> Result<Planes, ConnectionFault> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConnectionFault::Read { path: path.to_owned(), source })?;
    let file: File = toml::from_str(&text)
        .map_err(|source| ConnectionFault::Parse { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let File { endpoint, server_name, ca, certificate, private_key, vault, data_plane } = file;
    let control = Plane { endpoint, server_name, ca, certificate, private_key };
    let data = data_plane.unwrap_or_default();
    Ok(Planes { control: control.beside(folder), data: data.beside(folder), vault })
}

impl Plane {
    fn beside(self, folder: &Path) -> Self {
        let beside = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        Self {
            ca: beside(self.ca),
            certificate: beside(self.certificate),
            private_key: beside(self.private_key),
            ..self
        }
    }
}

const DEFAULT_FILE: &str = "portctl.toml";
