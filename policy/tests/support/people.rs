//! People with keys of their own, which sign as OpenSSH does.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::credential::{
    Assertion, Credential, Evidence, Passkey, PasskeyKey, Purpose, SshKey,
};
use portcullis_policy::id::PersonId;
use portcullis_policy::people::{Person, Role};
use portcullis_policy::statement;
use sha2::{Digest as _, Sha256, Sha512};

/// A key in a file, or on a device that is touched.
#[derive(Clone, Debug)]
pub struct Pen {
    pub key: SigningKey,
    pub hardware: bool,
    pub flags: u8,
    pub counter: u32,
}

const APPLICATION: &str = "ssh:";

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

impl Pen {
    /// Different for each name and number.
    pub fn new(name: &str, number: u8, hardware: bool) -> Self {
        let seed = Sha256::digest(format!("{name} {number}"));
        let key = SigningKey::from_bytes(&seed.into());
        Self { key, hardware, flags: 5, counter: 1 }
    }

    fn algorithm(&self) -> &'static str {
        if self.hardware { "sk-ssh-ed25519@openssh.com" } else { "ssh-ed25519" }
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        string(&mut blob, self.algorithm().as_bytes());
        string(&mut blob, self.key.verifying_key().as_bytes());
        if self.hardware {
            string(&mut blob, APPLICATION.as_bytes());
        }
        blob
    }

    pub fn credential(&self) -> Credential {
        let line = format!("{} {}", self.algorithm(), Base64::encode_string(&self.blob()));
        Credential::Ssh(SshKey::try_from(line).unwrap())
    }

    /// As `ssh-keygen -Y sign` would (PROTOCOL.sshsig, PROTOCOL.u2f).
    pub fn sign(&self, purpose: Purpose, text: &str) -> Evidence {
        self.sign_in(purpose.namespace(), text)
    }

    pub fn sign_in(&self, namespace: &str, text: &str) -> Evidence {
        let mut signed = b"SSHSIG".to_vec();
        string(&mut signed, namespace.as_bytes());
        string(&mut signed, b"");
        string(&mut signed, b"sha512");
        string(&mut signed, &Sha512::digest(text.as_bytes()));
        let mut signature = Vec::new();
        string(&mut signature, self.algorithm().as_bytes());
        if self.hardware {
            let mut message = Sha256::digest(APPLICATION.as_bytes()).to_vec();
            message.push(self.flags);
            message.extend(self.counter.to_be_bytes());
            message.extend(Sha256::digest(&signed));
            string(&mut signature, &self.key.sign(&message).to_bytes());
            signature.push(self.flags);
            signature.extend(self.counter.to_be_bytes());
        } else {
            string(&mut signature, &self.key.sign(&signed).to_bytes());
        }
        let mut out = b"SSHSIG".to_vec();
        out.extend(1_u32.to_be_bytes());
        string(&mut out, &self.blob());
        string(&mut out, namespace.as_bytes());
        string(&mut out, b"");
        string(&mut out, b"sha512");
        string(&mut out, &signature);
        let text = Base64::encode_string(&out);
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let body = lines.join("\n");
        Evidence::Ssh(format!(
            "-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"
        ))
    }

    /// Agrees to be somebody's.
    pub fn possession(&self, vault: &str, person: &PersonId) -> Evidence {
        let text = statement::enrolment(vault, person, &self.credential().id());
        self.sign(Purpose::Enrolment, &text)
    }
}

/// A passkey, as an authenticator signs with it: present and verified (WebAuthn L3, 6.1 and 7.2).
#[derive(Clone, Debug)]
pub struct PasskeyPen {
    key: p256::ecdsa::SigningKey,
    id: String,
}

impl PasskeyPen {
    pub fn new(name: &str) -> Self {
        let seed = Sha256::digest(format!("passkey {name}"));
        Self { key: p256::ecdsa::SigningKey::from_slice(&seed).unwrap(), id: hex::encode(seed) }
    }

    pub fn credential(&self) -> Credential {
        let point = self.key.verifying_key().to_encoded_point(false);
        Credential::Passkey(Passkey {
            backup_eligible: false,
            id: self.id.clone(),
            key: PasskeyKey::Es256(hex::encode(point.as_bytes())),
            origins: std::collections::BTreeSet::from(["https://console.acme".to_owned()]),
            rp_id: "console.acme".into(),
        })
    }

    pub fn sign(&self, text: &str, counter: u32) -> Evidence {
        use p256::ecdsa::signature::Signer as _;
        let challenge = base64ct::Base64UrlUnpadded::encode_string(&Sha256::digest(text));
        let client_data = format!(
            "{{\"type\":\"webauthn.get\",\"challenge\":\"{challenge}\",\
             \"origin\":\"https://console.acme\",\"crossOrigin\":false}}"
        );
        let mut data = Sha256::digest("console.acme").to_vec();
        data.push(0x05);
        data.extend(counter.to_be_bytes());
        let signed = [data.clone(), Sha256::digest(&client_data).to_vec()].concat();
        let signature: p256::ecdsa::DerSignature = self.key.sign(&signed);
        Evidence::Passkey(Assertion {
            authenticator_data: hex::encode(&data),
            client_data,
            signature: hex::encode(signature.as_bytes()),
        })
    }
}

/// A person with these pens.
pub fn person(id: &str, roles: &[Role], pens: &[Pen]) -> Person {
    Person {
        control: format!("spiffe://acme/people/{id}"),
        credentials: pens.iter().map(Pen::credential).collect(),
        id: id.parse().unwrap(),
        roles: roles.iter().copied().collect(),
    }
}
