//! A journal with a key that signs it, as a token does.

use alloy_primitives::B256;
use ed25519_dalek::{Signer as _, SigningKey};
use portcullis_policy::note::{
    Checkpoint, Note, NoteKey, NoteSignature, Verifier, Witness, origin,
};
use portcullis_policy::receipt::Receipt;
use portcullis_policy::tree::{Tiles, Tree, leaf_hash};
use portcullis_proto::v1;

/// Records, of which the first few are under the newest checkpoint.
#[derive(Clone)]
pub struct Attesting {
    pub records: Vec<Vec<u8>>,
    pub size: usize,
    /// The numbers of those who cosign.
    pub witnesses: Vec<u8>,
}

pub fn note_key() -> NoteKey {
    NoteKey::ed25519(secret().verifying_key().as_bytes()).expect("a key")
}

/// One of any number of witnesses.
pub fn witness(number: u8) -> Witness {
    let key = SigningKey::from_bytes(&[number; 32]).verifying_key();
    Witness::new(&format!("witness.example.com/{number}"), key.as_bytes()).expect("a key")
}

fn secret() -> SigningKey {
    SigningKey::from_bytes(&[11; 32])
}

impl Attesting {
    fn leaves(&self) -> Vec<B256> {
        self.records.iter().map(|record| leaf_hash(record)).collect()
    }

    pub fn verifier(&self) -> Verifier {
        Verifier { name: origin(leaf_hash(&self.records[0])), key: note_key() }
    }

    /// The checkpoint over the first few.
    pub fn note(&self, size: usize) -> Note {
        let root = Tree::new(self.leaves()[..size].to_vec()).root();
        let name = self.verifier().name;
        let checkpoint = Checkpoint { origin: name.clone(), size: size as u64, root };
        let text = checkpoint.text();
        let bytes = secret().sign(text.as_bytes()).to_bytes().to_vec();
        let signature = NoteSignature { id: note_key().id(&name), name, bytes };
        let cosigned = self.witnesses.iter().map(|number| {
            let secret = SigningKey::from_bytes(&[*number; 32]);
            witness(*number).cosign(&text, 1_000, |message| secret.sign(message).to_bytes())
        });
        let signatures = std::iter::once(signature).chain(cosigned).collect();
        Note { text, signatures }
    }

    pub fn checkpoint(&self, old: u64) -> v1::GetCheckpointResponse {
        let mut tiles = Tiles::default();
        self.leaves().into_iter().for_each(|leaf| tiles.push(leaf));
        let none = |_| Err::<Vec<B256>, ()>(());
        let proof =
            tiles.consistency(old, self.size as u64, none).expect("small").filter(|_| old > 0);
        let path = proof.map(|proof| proof.path).unwrap_or_default();
        v1::GetCheckpointResponse {
            checkpoint: self.note(self.size).to_string(),
            size: self.size as u64,
            verifier_key: self.verifier().to_string(),
            consistency_proof: path.iter().map(|hash| hash.to_vec()).collect(),
        }
    }

    pub fn prove(&self, sequence: u64) -> Option<v1::ProveRecordResponse> {
        let index = sequence.checked_sub(1)?;
        let path = Tree::new(self.leaves()[..self.size].to_vec()).prove(index)?.path;
        let receipt = Receipt { index, path, checkpoint: self.note(self.size) };
        let record = self.records[index as usize].clone();
        Some(v1::ProveRecordResponse { record, receipt: receipt.to_string() })
    }
}
