//! Why something cannot be enrolled, and why a signature proves nothing.

/// Why something is no credential of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadCredential {
    /// Not one line of two words.
    #[error("an SSH key is written `ssh-ed25519 BASE64`: no options before, no comment after")]
    SshForm,
    /// Another kind of key.
    #[error("SSH keys of type {found:?} are not taken: {instead}")]
    SshAlgorithm {
        /// What it calls itself, cut to 80 characters.
        found: String,
        /// What to do.
        instead: &'static str,
    },
    /// The base64 is not the one encoding of a key of that type.
    #[error("the SSH key is damaged: copy the whole line of the .pub file again")]
    SshBlob,
    /// A security key that is enrolled for something else than SSH.
    #[error(
        "the SSH key's application must begin with \"ssh:\" and be 4 to 128 visible ASCII \
         characters: make one with ssh-keygen -t ed25519-sk"
    )]
    SshApplication,
    /// No Ed25519 key, or a weak one.
    #[error("not an Ed25519 key that could be anybody's: make a new one")]
    Ed25519,
    /// No P-256 key.
    #[error("not an ES256 key: 65 bytes in lower-case hex, 04 and a point of P-256")]
    Es256,
    /// No id that an authenticator could have given.
    #[error("a passkey's id is 16 to 1023 bytes in lower-case hex")]
    PasskeyId,
    /// No domain.
    #[error("a passkey's rp_id is a domain in lower case, without scheme and port")]
    RpId,
    /// An origin for which no browser would have made it.
    #[error(
        "a passkey has 1 to 8 different origins, each https:// and a host that is rp_id or under \
         it, as browsers write them (http:// for localhost only)"
    )]
    Origins,
}

/// Why a signature proves nothing. One variant a cause, each with a stable [`BadEvidence::code`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadEvidence {
    /// An SSH signature for a passkey, or the other way round.
    #[error("the signature is not of the credential's kind: name the credential that signed")]
    OtherKind,
    /// The enrolled credential itself cannot be read. It was not parsed where it came in.
    #[error("the enrolled credential cannot be read: enrol it again")]
    Credential,
    /// More than such a signature can need.
    #[error("the signature is too large: send what the tool wrote, and nothing else")]
    TooLarge,
    /// Verified against the key, and it is not right.
    #[error("the signature is not by this credential over this statement: sign what is shown")]
    Signature,
    /// The device was not touched.
    #[error("the device was not touched: sign again, without no-touch-required")]
    NoPresence,

    /// Not the text that ssh-keygen writes.
    #[error("not an armored SSH signature: send the .sig file as ssh-keygen wrote it, unchanged")]
    Armor,
    /// The bytes inside are no SSHSIG.
    #[error("the SSH signature is damaged: send the .sig file as ssh-keygen wrote it, unchanged")]
    Sshsig,
    /// Another version of SSHSIG.
    #[error("the SSH signature has version {0}, not 1: sign with OpenSSH's ssh-keygen")]
    Version(u32),
    /// Made for something else.
    #[error("signed for {found:?}: sign again, with ssh-keygen -Y sign -n {expected}")]
    Namespace {
        /// The purpose's.
        expected: &'static str,
        /// The signature's, cut to 80 characters.
        found: String,
    },
    /// Something in the field for later.
    #[error("the SSH signature's reserved field is not empty: sign with OpenSSH's ssh-keygen")]
    Reserved,
    /// The statement was hashed otherwise.
    #[error("signed over another hash than sha512: sign again, without -O hashalg")]
    HashAlgorithm,
    /// By somebody else, or another key of theirs.
    #[error("signed with another SSH key: sign with the enrolled one, or name the one that signed")]
    OtherKey,
    /// The signature is of another type than the key.
    #[error("the SSH signature is not of its key's type: sign with OpenSSH's ssh-keygen")]
    SignatureAlgorithm,
    /// The device says something that a security key does not say.
    #[error("the security key set flags {0:#04x}, not 0x01 or 0x05: use a security key for SSH")]
    SkFlags(u8),

    /// A field is not in lower-case hex.
    #[error("{0} is not in lower-case hexadecimal digits: send it as the console does")]
    Hex(&'static str),
    /// Not a JSON object.
    #[error("client_data is not a JSON object: send the browser's text unchanged")]
    ClientData,
    /// Two readers could read it differently.
    #[error("client_data has a key twice: send the browser's text unchanged")]
    KeyTwice,
    /// Not an assertion.
    #[error("client_data's type is not webauthn.get: use the console's button for signing")]
    Type,
    /// Another statement, or none of ours.
    #[error("signed another statement: load the page again, and sign what is shown")]
    Challenge,
    /// Another site.
    #[error("signed at {found:?}, where this passkey is not enrolled for: use the console")]
    Origin {
        /// Which, cut to 80 characters.
        found: String,
    },
    /// In a frame of another site.
    #[error("signed within a frame of another site: open the console by itself")]
    CrossOrigin,
    /// Under another site.
    #[error("signed under another site's page: open the console by itself")]
    TopOrigin,
    /// Shorter or longer than its flags say.
    #[error("authenticator_data is not 37 bytes (and extensions only with their flag)")]
    AuthenticatorData,
    /// A key is attested, as in an enrolment.
    #[error("authenticator_data attests a key: send what signing gave, not what enrolling gave")]
    AttestedData,
    /// Bits with no meaning.
    #[error("authenticator_data sets reserved flags: use another authenticator")]
    ReservedFlags,
    /// For another relying party.
    #[error("signed for another relying party: use the passkey that is enrolled here")]
    RpId,
    /// The device did not ask for PIN or finger.
    #[error("the device did not verify you: set a PIN or a finger on it, and sign again")]
    NoVerification,
    /// Not as it was when enrolled.
    #[error("the passkey's backup eligibility is not as enrolled: enrol it again")]
    BackupEligible,
    /// Backed up, and not eligible for it.
    #[error("the passkey says it is backed up and cannot be: use another authenticator")]
    BackupState,
    /// Not DER, or not 64 bytes.
    #[error("the passkey's signature is damaged: send what the browser gave, unchanged")]
    SignatureForm,
}

impl BadEvidence {
    /// The cause, for machines. Never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherKind => "EVIDENCE_OTHER_KIND",
            Self::Credential => "EVIDENCE_CREDENTIAL_UNREADABLE",
            Self::TooLarge => "EVIDENCE_TOO_LARGE",
            Self::Signature => "EVIDENCE_WRONG_SIGNATURE",
            Self::NoPresence => "EVIDENCE_NO_PRESENCE",
            Self::Armor => "SSHSIG_NOT_ARMORED",
            Self::Sshsig => "SSHSIG_MALFORMED",
            Self::Version(_) => "SSHSIG_VERSION",
            Self::Namespace { .. } => "SSHSIG_NAMESPACE",
            Self::Reserved => "SSHSIG_RESERVED",
            Self::HashAlgorithm => "SSHSIG_HASH_ALGORITHM",
            Self::OtherKey => "SSHSIG_OTHER_KEY",
            Self::SignatureAlgorithm => "SSHSIG_SIGNATURE_ALGORITHM",
            Self::SkFlags(_) => "SSHSIG_FLAGS",
            Self::Hex(_) => "PASSKEY_NOT_HEX",
            Self::ClientData => "PASSKEY_CLIENT_DATA",
            Self::KeyTwice => "PASSKEY_CLIENT_DATA_KEY_TWICE",
            Self::Type => "PASSKEY_TYPE",
            Self::Challenge => "PASSKEY_CHALLENGE",
            Self::Origin { .. } => "PASSKEY_ORIGIN",
            Self::CrossOrigin => "PASSKEY_CROSS_ORIGIN",
            Self::TopOrigin => "PASSKEY_TOP_ORIGIN",
            Self::AuthenticatorData => "PASSKEY_AUTHENTICATOR_DATA",
            Self::AttestedData => "PASSKEY_ATTESTED_DATA",
            Self::ReservedFlags => "PASSKEY_RESERVED_FLAGS",
            Self::RpId => "PASSKEY_RP_ID",
            Self::NoVerification => "PASSKEY_NO_VERIFICATION",
            Self::BackupEligible => "PASSKEY_BACKUP_ELIGIBLE",
            Self::BackupState => "PASSKEY_BACKUP_STATE",
            Self::SignatureForm => "PASSKEY_SIGNATURE_FORM",
        }
    }
}

/// Somebody else's text, short enough for a message.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
