//! Decoding, digests and signed bytes, compared with two decoders that share no code with ours:
//! alloy-consensus (all types) and ethers-core (types 0 to 2), on generated transactions and on
//! transactions broken on purpose.
//!
//! The claim: we accept nothing that an oracle refuses, what all accept all read alike, and
//! whatever we alone refuse has one of the [`Stricter`] reasons, which stand in docs/decoding.md.
//! `ORACLE_CASES` (at least the default) and `ORACLE_SEED` vary the run.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test"
)]

#[path = "oracle/generate.rs"]
mod generate;
#[path = "oracle/oracles.rs"]
mod oracles;

use std::collections::BTreeMap;

use alloy_primitives::hex;
use portcullis_policy::tx::{Malformed, UnsignedTx};

use generate::{Dice, Kind};
use oracles::{Seen, Signature};

/// Cases of each type in a run that names no number.
const CASES: usize = 20_000;

const KINDS: [Kind; 5] =
    [Kind::Legacy, Kind::AccessList, Kind::DynamicFee, Kind::Blob, Kind::SetCode];

#[test]
fn we_read_what_the_oracles_read_and_are_stricter_only_where_it_is_written() {
    let cases = from_environment("ORACLE_CASES").map_or(CASES, |n: usize| n.max(CASES));
    let seed = from_environment("ORACLE_SEED").unwrap_or(0x706f_7274);
    println!("seed {seed}, {cases} cases a type");
    println!("type     accepted  refused  ours=alloy  ours=ethers  stricter");
    let mut reasons = BTreeMap::<Stricter, usize>::new();
    for (kind, seed) in KINDS.into_iter().zip(seed..) {
        let mut dice = Dice::new(seed);
        let mut tally = Tally::default();
        for _ in 0..cases {
            tally.count(&generate::case(kind, &mut dice), &mut dice, &mut reasons);
        }
        println!(
            "{:<8} {:>8} {:>8} {:>11} {:>12} {:>9}",
            format!("{kind:?}").chars().take(8).collect::<String>(),
            tally.accepted,
            cases - tally.accepted,
            tally.alloy_agrees,
            tally.ethers_agrees,
            tally.stricter
        );
        assert!(tally.accepted * 3 >= cases, "{kind:?}: too few were accepted");
        assert!((cases - tally.accepted) * 3 >= cases, "{kind:?}: too few were refused");
    }
    println!("stricter on purpose: {reasons:#?}");
    for reason in Stricter::ALL {
        assert!(reasons.contains_key(&reason), "{reason:?} never happened: is it still true?");
    }
}

#[test]
fn every_reason_for_which_we_are_stricter_is_written_down() {
    let page = include_str!("../../docs/decoding.md");
    for reason in Stricter::ALL {
        let name = reason.name();
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/decoding.md");
    }
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Default)]
struct Tally {
    accepted: usize,
    alloy_agrees: usize,
    ethers_agrees: usize,
    stricter: usize,
}

impl Tally {
    /// Decodes one input three times and compares.
    fn count(&mut self, input: &[u8], dice: &mut Dice, reasons: &mut BTreeMap<Stricter, usize>) {
        let ours = UnsignedTx::decode(input);
        let signature = Signature::random(dice);
        self.accepted += usize::from(ours.is_ok());
        let alloy = oracles::alloy(input);
        self.alloy_agrees += usize::from(alloy.is_some() == ours.is_ok());
        let mut stricter = compare(&ours, alloy, input, &signature);
        if oracles::ethers_knows(input) {
            let ethers = oracles::ethers(input);
            self.ethers_agrees += usize::from(ethers.is_some() == ours.is_ok());
            stricter.extend(compare(&ours, ethers, input, &signature));
        }
        self.stricter += usize::from(!stricter.is_empty());
        for reason in stricter {
            *reasons.entry(reason).or_default() += 1;
        }
    }
}

/// Panics unless both read the same, both refuse, or we refuse for a written reason.
fn compare(
    ours: &Result<UnsignedTx, Malformed>,
    oracle: Option<Seen>,
    input: &[u8],
    signature: &Signature,
) -> Vec<Stricter> {
    let shown = || hex::encode(&input[..input.len().min(400)]);
    match (ours, oracle) {
        (Err(_), None) => vec![],
        (Ok(tx), None) => panic!("we are laxer: {tx:?} from {}", shown()),
        (Ok(tx), Some(seen)) => {
            oracles::assert_same(tx, &seen, input, signature);
            for reason in Stricter::ALL {
                assert!(!reason.holds(&seen, input), "{reason:?}, and accepted: {}", shown());
            }
            vec![]
        }
        (Err(refusal), Some(seen)) => {
            let reason = Stricter::why(refusal, &seen, input);
            let reason = reason.unwrap_or_else(|| panic!("unwritten: {refusal:?}, {}", shown()));
            assert!(reason.holds(&seen, input), "{reason:?} is not so: {}", shown());
            vec![reason]
        }
    }
}

/// Every reason for which we refuse what an oracle accepts. Closed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stricter {
    NotReproduced,
    TooLarge,
    WideNumber,
    LegacyWithoutChainId,
    ChainIdZero,
    ChainIdTooLarge,
    NonceTooLarge,
    GasLimitZero,
    PriorityFeeAboveMaxFee,
    CreateWithoutCode,
    InitCodeTooLarge,
    AccessListTooLong,
    BlobWithoutHashes,
    BlobHashesTooMany,
    BlobHashVersion,
    SetCodeWithoutAuthorizations,
    AuthorizationsTooMany,
    AuthorizationChain,
    AuthorizationNonce,
    AuthorizationSignature,
}

impl Stricter {
    const ALL: [Self; 20] = [
        Self::NotReproduced,
        Self::TooLarge,
        Self::WideNumber,
        Self::LegacyWithoutChainId,
        Self::ChainIdZero,
        Self::ChainIdTooLarge,
        Self::NonceTooLarge,
        Self::GasLimitZero,
        Self::PriorityFeeAboveMaxFee,
        Self::CreateWithoutCode,
        Self::InitCodeTooLarge,
        Self::AccessListTooLong,
        Self::BlobWithoutHashes,
        Self::BlobHashesTooMany,
        Self::BlobHashVersion,
        Self::SetCodeWithoutAuthorizations,
        Self::AuthorizationsTooMany,
        Self::AuthorizationChain,
        Self::AuthorizationNonce,
        Self::AuthorizationSignature,
    ];

    /// As docs/decoding.md calls it.
    fn name(self) -> &'static str {
        match self {
            Self::NotReproduced => "not-reproduced",
            Self::TooLarge => "too-large",
            Self::WideNumber => "wide-number",
            Self::LegacyWithoutChainId => "legacy-without-chain-id",
            Self::ChainIdZero => "chain-id-zero",
            Self::ChainIdTooLarge => "chain-id-too-large",
            Self::NonceTooLarge => "nonce-too-large",
            Self::GasLimitZero => "gas-limit-zero",
            Self::PriorityFeeAboveMaxFee => "priority-fee-above-max-fee",
            Self::CreateWithoutCode => "create-without-code",
            Self::InitCodeTooLarge => "init-code-too-large",
            Self::AccessListTooLong => "access-list-too-long",
            Self::BlobWithoutHashes => "blob-without-hashes",
            Self::BlobHashesTooMany => "blob-hashes-too-many",
            Self::BlobHashVersion => "blob-hash-version",
            Self::SetCodeWithoutAuthorizations => "set-code-without-authorizations",
            Self::AuthorizationsTooMany => "authorizations-too-many",
            Self::AuthorizationChain => "authorization-chain",
            Self::AuthorizationNonce => "authorization-nonce",
            Self::AuthorizationSignature => "authorization-signature",
        }
    }

    /// The reason for a refusal. `None`: an oracle that accepts this has found a fault of ours.
    fn why(refusal: &Malformed, seen: &Seen, input: &[u8]) -> Option<Self> {
        if seen.preimage != input {
            return seen.may_misread(input).then_some(Self::NotReproduced);
        }
        match refusal {
            Malformed::TooLarge { .. } => Some(Self::TooLarge),
            Malformed::FieldTooLong { .. } => Some(Self::WideNumber),
            Malformed::LegacyWithoutChainId => Some(Self::LegacyWithoutChainId),
            Malformed::ChainIdZero => Some(Self::ChainIdZero),
            Malformed::ChainIdTooLarge => Some(Self::ChainIdTooLarge),
            Malformed::NonceTooLarge => Some(Self::NonceTooLarge),
            Malformed::GasLimitZero => Some(Self::GasLimitZero),
            Malformed::PriorityFeeAboveMaxFee => Some(Self::PriorityFeeAboveMaxFee),
            Malformed::CreateWithoutCode => Some(Self::CreateWithoutCode),
            Malformed::InitCodeTooLarge { .. } => Some(Self::InitCodeTooLarge),
            Malformed::AccessListTooLong => Some(Self::AccessListTooLong),
            Malformed::BlobWithoutHashes => Some(Self::BlobWithoutHashes),
            Malformed::BlobHashesTooMany => Some(Self::BlobHashesTooMany),
            Malformed::BlobHashVersion(_) => Some(Self::BlobHashVersion),
            Malformed::SetCodeWithoutAuthorizations => Some(Self::SetCodeWithoutAuthorizations),
            Malformed::AuthorizationsTooMany => Some(Self::AuthorizationsTooMany),
            Malformed::AuthorizationChain => Some(Self::AuthorizationChain),
            Malformed::AuthorizationNonce => Some(Self::AuthorizationNonce),
            Malformed::AuthorizationSignature => Some(Self::AuthorizationSignature),
            Malformed::Delegation
            | Malformed::Empty
            | Malformed::HexText
            | Malformed::UnknownType(_)
            | Malformed::Wrapped
            | Malformed::NotAList
            | Malformed::Truncated
            | Malformed::TrailingBytes { .. }
            | Malformed::NonCanonical
            | Malformed::LeadingZero(_)
            | Malformed::FieldLength { .. }
            | Malformed::FieldShape(_)
            | Malformed::FieldCount { .. }
            | Malformed::EntryParts(_)
            | Malformed::AlreadySigned
            | Malformed::BlobSidecar
            | Malformed::BlobCreate
            | Malformed::SetCodeCreate => None,
        }
    }

    /// Whether it is so, as the oracle reads the input.
    fn holds(self, seen: &Seen, input: &[u8]) -> bool {
        let creates = seen.to.is_none();
        let hashes = &seen.blob_hashes;
        let tuples = &seen.authorizations;
        let listed: usize = seen.access_list.iter().map(|(_, keys)| 1 + keys.len()).sum();
        match self {
            Self::NotReproduced => seen.preimage != input,
            Self::TooLarge => input.len() > 131_072,
            Self::WideNumber => {
                seen.nonce.bit_len() > 64
                    || seen.gas_limit.bit_len() > 64
                    || seen.max_fee.bit_len() > 128
                    || seen.priority_fee.bit_len() > 128
            }
            Self::LegacyWithoutChainId => seen.chain.is_none(),
            Self::ChainIdZero => seen.chain == Some(0),
            Self::ChainIdTooLarge => seen.chain.is_some_and(|id| id > (u64::MAX - 36) / 2),
            Self::NonceTooLarge => seen.nonce == u64::MAX,
            Self::GasLimitZero => seen.gas_limit.is_zero(),
            Self::PriorityFeeAboveMaxFee => seen.priority_fee > seen.max_fee,
            Self::CreateWithoutCode => creates && seen.data.is_empty(),
            Self::InitCodeTooLarge => creates && seen.data.len() > 49_152,
            Self::AccessListTooLong => listed > 4_096,
            Self::BlobWithoutHashes => seen.max_blob_fee.is_some() && hashes.is_empty(),
            Self::BlobHashesTooMany => hashes.len() > 64,
            Self::BlobHashVersion => hashes.iter().any(|hash| hash[0] != 1),
            Self::SetCodeWithoutAuthorizations => input[0] == 4 && tuples.is_empty(),
            Self::AuthorizationsTooMany => tuples.len() > 256,
            Self::AuthorizationChain => tuples.iter().any(|tuple| {
                !tuple.chain.is_zero() && seen.chain.is_none_or(|chain| tuple.chain != chain)
            }),
            Self::AuthorizationNonce => tuples.iter().any(|tuple| tuple.nonce == u64::MAX),
            Self::AuthorizationSignature => tuples.iter().any(|tuple| {
                let r = k256::ecdsa::Signature::from_scalars(
                    tuple.r.to_be_bytes::<32>(),
                    tuple.s.to_be_bytes::<32>(),
                );
                tuple.y_parity > 1 || r.map_or(true, |found| found.normalize_s().is_some())
            }),
        }
    }
}
