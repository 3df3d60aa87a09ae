//! What a responder does on one chain, in order: tokens away before anything else, then whoever
//! may take more is stopped from it, then nonces that wait in a node, then the coin, less what all
//! fees may cost, and at last nonces that nobody used.

use alloy_primitives::{Address, B256, U256};

use super::node::Call;

/// What an account has on a chain, and what hangs on it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Holdings {
    /// Transactions that are mined.
    pub(super) mined: u64,
    /// The same and those that a node holds to be mined.
    pub(super) pending: u64,
    pub(super) native: U256,
    /// Each with its balance.
    pub(super) tokens: Vec<(Address, U256)>,
    /// Token and spender of each allowance that stands.
    pub(super) allowances: Vec<[Address; 2]>,
    /// What the node does not say, and why.
    pub(super) untold: Vec<(String, String)>,
}

/// One transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Deed {
    /// All of a token to safety.
    Send { token: Address, amount: U256 },
    /// What a spender may take becomes nothing.
    TakeBack { token: Address, spender: Address },
    /// Nothing to itself: whatever else was signed for this nonce is void.
    Cancel,
    /// The coin, what all fees may cost aside.
    Rest,
}

/// What is to be done. The coin comes after all that is urgent, if it is moved at all.
pub(super) fn deeds(holdings: &Holdings, moves_native: bool, cancel_below: u64) -> Vec<Deed> {
    let held = holdings.tokens.iter().filter(|(_, amount)| !amount.is_zero());
    let mut deeds: Vec<Deed> =
        held.map(|(token, amount)| Deed::Send { token: *token, amount: *amount }).collect();
    let allowances = holdings.allowances.iter();
    deeds.extend(
        allowances.map(|[token, spender]| Deed::TakeBack { token: *token, spender: *spender }),
    );
    // Whatever waits under a nonce that nothing above takes.
    let taken = u64::try_from(deeds.len()).unwrap_or(u64::MAX);
    let next = holdings.mined.saturating_add(taken);
    // Whatever a node says that it holds.
    let held = holdings.pending.min(holdings.mined.saturating_add(AHEAD_MAX));
    let waiting = held.saturating_sub(next);
    deeds.extend((0..waiting).map(|_| Deed::Cancel));
    let moved = moves_native && !holdings.native.is_zero();
    if moved {
        deeds.push(Deed::Rest);
    }
    // What nobody sent yet is cancelled once the coin is safe, with what it left for that.
    let next = next.saturating_add(waiting).saturating_add(u64::from(moved));
    let unsent = cancel_below.saturating_sub(next).min(AHEAD_MAX);
    deeds.extend((0..unsent).map(|_| Deed::Cancel));
    deeds
}

/// A deed as a call; the coin's amount is filled in once the fees are known.
pub(super) fn call(deed: Deed, [own, to]: [Address; 2]) -> Call {
    let nothing = U256::ZERO;
    match deed {
        Deed::Send { token, amount } => {
            let words = [to.into_word(), B256::from(amount)];
            Call { to: token, value: nothing, data: call_data([0xa9, 0x05, 0x9c, 0xbb], words) }
        }
        Deed::TakeBack { token, spender } => {
            let words = [spender.into_word(), B256::ZERO];
            Call { to: token, value: nothing, data: call_data([0x09, 0x5e, 0xa7, 0xb3], words) }
        }
        Deed::Cancel => Call { to: own, value: nothing, data: Vec::new() },
        Deed::Rest => Call { to, value: nothing, data: Vec::new() },
    }
}

pub(super) fn call_data(selector: [u8; 4], words: impl IntoIterator<Item = B256>) -> Vec<u8> {
    let mut data = selector.to_vec();
    words.into_iter().for_each(|word| data.extend_from_slice(word.as_slice()));
    data
}

/// How much coin is left to move once everything is paid; `None`: less than it costs to move it.
pub(super) fn rest(native: U256, fees: U256, own_fee: U256) -> Option<U256> {
    native.checked_sub(fees).filter(|rest| *rest > own_fee)
}

/// A quarter more than a node says.
pub(super) fn ample(gas: u64) -> u64 {
    gas.saturating_add(gas.checked_div(4).unwrap_or(0))
}

/// How far ahead of what is mined nonces are cancelled at all: one mistyped digit is no disaster.
pub(super) const AHEAD_MAX: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(byte: u8) -> Address {
        Address::repeat_byte(byte)
    }

    fn holdings() -> Holdings {
        Holdings {
            mined: 7,
            pending: 7,
            native: U256::from(100),
            tokens: vec![(address(1), U256::from(5)), (address(2), U256::ZERO)],
            allowances: vec![[address(1), address(9)]],
            untold: Vec::new(),
        }
    }

    #[test]
    fn tokens_go_first_then_allowances_then_nonces_and_the_coin_last() {
        let send = Deed::Send { token: address(1), amount: U256::from(5) };
        let back = Deed::TakeBack { token: address(1), spender: address(9) };
        assert_eq!(deeds(&holdings(), true, 0), [send, back, Deed::Rest]);
        assert_eq!(deeds(&holdings(), false, 0), [send, back]);
        // Four wait in the node, two of whose nonces are taken by what is done anyway.
        let waiting = Holdings { pending: 11, ..holdings() };
        let all = deeds(&waiting, true, 0);
        assert_eq!(all, [send, back, Deed::Cancel, Deed::Cancel, Deed::Rest]);
        // Signed and never sent, up to a nonce that somebody names.
        assert_eq!(
            deeds(&holdings(), true, 12).iter().filter(|one| **one == Deed::Cancel).count(),
            2
        );
        // However many: the coin goes before them, and a mistyped digit is no disaster.
        let many = deeds(&holdings(), true, u64::MAX);
        assert!(many.len() < 1_100 && many[2] == Deed::Rest, "{}", many.len());
        let nothing = Holdings { mined: 3, pending: 3, ..Holdings::default() };
        assert_eq!(deeds(&nothing, true, 0), []);
    }

    #[test]
    fn a_deed_is_the_call_that_its_words_say() {
        let [own, to] = [address(0xaa), address(0xbb)];
        let send = call(Deed::Send { token: address(1), amount: U256::from(5) }, [own, to]);
        assert_eq!((send.to, send.value), (address(1), U256::ZERO));
        assert_eq!(
            hex::encode(&send.data),
            format!("a9059cbb{:0>64}{:0>64}", "bb".repeat(20), "5")
        );
        let back = call(Deed::TakeBack { token: address(1), spender: address(9) }, [own, to]);
        assert_eq!(hex::encode(&back.data), format!("095ea7b3{:0>64}{:0>64}", "09".repeat(20), ""));
        let cancel = call(Deed::Cancel, [own, to]);
        assert_eq!((cancel.to, cancel.data.len()), (own, 0));
        assert_eq!(call(Deed::Rest, [own, to]).to, to);
    }

    #[test]
    fn coin_that_costs_more_to_move_than_it_is_stays() {
        let number = U256::from::<u64>;
        assert_eq!(rest(number(100), number(30), number(10)), Some(number(70)));
        assert_eq!(rest(number(40), number(30), number(10)), None);
        assert_eq!(rest(number(20), number(30), number(10)), None);
    }
}
