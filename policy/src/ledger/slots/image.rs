//! A table of slots as it is written down: each packed slot once, in order, and not by age too.

use alloy_primitives::Bytes;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::{Table, stamp_of};

/// One slot: account, place, what it is charged.
pub(super) type Row<P> = (u32, P, Bytes);

/// A slot that no version wrote.
#[derive(Debug, thiserror::Error)]
#[error("a slot without a stamp")]
pub(super) struct NoStamp;

impl<P: Copy + Serialize> Serialize for Table<P> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut rows = out.serialize_seq(Some(self.packed.len()))?;
        for ((account, place), packed) in &self.packed {
            rows.serialize_element(&(account, place, Bytes::copy_from_slice(packed)))?;
        }
        rows.end()
    }
}

impl<P: Copy + Ord> TryFrom<Vec<Row<P>>> for Table<P> {
    type Error = NoStamp;

    fn try_from(rows: Vec<Row<P>>) -> Result<Self, NoStamp> {
        let mut table = Self::default();
        for (account, place, packed) in rows {
            let (_, at) = stamp_of(&packed).ok_or(NoStamp)?;
            table.put((account, place), packed.to_vec().into(), at);
        }
        Ok(table)
    }
}
