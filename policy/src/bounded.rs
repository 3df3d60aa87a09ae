//! Reads lists of bounded length: what is too long is refused at the first element too many, before
//! any time is spent on the others.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// At most `N` of them: `#[serde(deserialize_with = "at_most::<8, _, _>")]`.
///
/// # Errors
///
/// There are more, or one is not well formed.
pub(crate) fn at_most<'de, const N: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(AtMost::<N, T>(PhantomData))
}

struct AtMost<const N: usize, T>(PhantomData<T>);

impl<'de, const N: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<N, T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a list of at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while all.len() < N {
            let Some(one) = list.next_element()? else { return Ok(all) };
            all.push(one);
        }
        match list.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(all),
            Some(_) => Err(A::Error::invalid_length(N.saturating_add(1), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Eq, PartialEq)]
    struct Three(#[serde(deserialize_with = "at_most::<3, _, _>")] Vec<u8>);

    #[test]
    fn a_list_too_long_is_refused_before_the_rest_is_looked_at() {
        let read = serde_json::from_str::<Three>;
        assert_eq!(read("[]").unwrap(), Three(vec![]));
        assert_eq!(read("[1,2,3]").unwrap(), Three(vec![1, 2, 3]));
        // The fifth is no number, and nobody has come that far.
        let fault = read("[1,2,3,4,\"x\"]").unwrap_err().to_string();
        assert!(fault.starts_with("invalid length 4, expected a list of at most 3"), "{fault}");
        assert!(read("[1,2,300]").is_err());
    }
}
