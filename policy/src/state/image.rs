//! The state as bytes, so that a start need not fold what was folded before: CBOR (RFC 8949).
//!
//! What comes back behaves as the fold of the same records does, and is written as the same bytes.
//! Reservations that are open are in no record, and so not in here.

use std::sync::Arc;

use alloy_primitives::B256;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Requests, State};
use crate::id::{CallerId, Digest, RequestId, Sequence};
use crate::record::RecordedInput;
use crate::request::{Asker, Request, sha256};
use crate::time::Millis;

/// Of what a version of this crate writes, and makes of records. Raised whenever the fold, or what
/// it is written as, comes out otherwise than before: an image of another one is not used.
pub const IMAGE_FORMAT: u32 = 3;

/// The very code that writes an image and makes something of records: version, form and sources. An
/// image by another one is not used, so that no upgrade takes a state for wrong that only is older.
pub fn code() -> B256 {
    let [version, sources] = [env!("CARGO_PKG_VERSION"), env!("POLICY_SOURCES_SHA256")];
    sha256(format!("portcullis state\n{version}\n{IMAGE_FORMAT}\n{sources}\n").as_bytes())
}

/// An image that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// A mistake of ours.
    #[error("the state cannot be written down: {0}")]
    Write(String),
    /// Cut, damaged, or of another version.
    #[error("this is no state that this version wrote: {0}")]
    Read(String),
    /// Something stands behind it.
    #[error("{0} bytes stand behind the state")]
    Longer(usize),
}

impl State {
    /// Everything that follows from the records so far.
    ///
    /// # Errors
    ///
    /// It cannot be written down.
    pub fn image(&self) -> Result<Vec<u8>, ImageFault> {
        let mut out = Vec::new();
        let written = ciborium::into_writer(self, &mut out);
        written.map_err(|error| ImageFault::Write(error.to_string()))?;
        Ok(out)
    }

    /// The state again. It believes what it is given.
    ///
    /// # Errors
    ///
    /// It is none, or of another version.
    pub fn of_image(mut image: &[u8]) -> Result<Self, ImageFault> {
        let read = ciborium::from_reader(&mut image);
        let mut state: Self = read.map_err(|error| ImageFault::Read(error.to_string()))?;
        if !image.is_empty() {
            return Err(ImageFault::Longer(image.len()));
        }
        state.unsettled.share_callers();
        Ok(state)
    }
}

/// A request id, what it stands for, and since when.
pub(super) type Named = (Millis, Sequence, CallerId, RequestId, Digest);

impl Serialize for Requests {
    /// By age alone: each name stands in both tables.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut all = out.serialize_seq(Some(self.ages.len()))?;
        for ((at, sequence), name) in &self.ages {
            let digest = self.digests.get(name);
            let digest =
                digest.ok_or_else(|| serde::ser::Error::custom("a name without digest"))?;
            all.serialize_element(&(at, sequence, &name.0, &name.1, digest))?;
        }
        all.end()
    }
}

impl From<Vec<Named>> for Requests {
    fn from(all: Vec<Named>) -> Self {
        let mut requests = Self::default();
        for (at, sequence, caller, request, digest) in all {
            requests.digests.insert((caller.clone(), request.clone()), digest);
            requests.ages.insert((at, sequence), (caller, request));
        }
        requests
    }
}

/// A book as its text.
pub(super) mod book {
    use super::{Arc, Deserialize as _, Deserializer, Serializer, de};
    use crate::book::Book;

    pub(in super::super) fn serialize<S: Serializer>(
        book: &Arc<Book>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_str(book.text())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Arc<Book>, D::Error> {
        let text = String::deserialize(input)?;
        let book = Book::parse(&text).map_err(|_| de::Error::custom("the book has faults"))?;
        Ok(Arc::new(book))
    }
}

/// A parked request as the record that parked it has it.
pub(crate) mod request {
    use super::{
        Arc, Asker, Deserialize as _, Deserializer, RecordedInput, Request, Serialize as _,
        Serializer, de,
    };

    pub(crate) fn serialize<S: Serializer>(
        request: &Arc<Request>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        let (input, _attachment) = RecordedInput::of(&request.input());
        (request.asker(), input).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Arc<Request>, D::Error> {
        let (asker, recorded) = <(Asker, RecordedInput)>::deserialize(input)?;
        // What people cannot read is not parked, so it stands in the record itself.
        let input = recorded.resolve(|_| None);
        let input = input.ok_or_else(|| de::Error::custom("the input is not there"))?;
        Request::decode(asker, &input).map(Arc::new).map_err(de::Error::custom)
    }
}
