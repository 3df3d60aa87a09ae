//! Unsigned transactions, written field by field: an encoder that shares nothing with the one that
//! is tested.

use alloy_primitives::{Address, U256};

/// A transaction of type 0 to 4. What its type does not have is not written.
#[derive(Clone, Debug)]
pub struct Tx {
    pub kind: u8,
    pub chain: u64,
    pub nonce: u64,
    pub gas: u64,
    pub max_fee: U256,
    pub priority: U256,
    pub to: Option<Address>,
    pub value: U256,
    pub data: Vec<u8>,
    pub blob_fee: U256,
    pub blobs: usize,
    pub delegations: Vec<(u64, Address)>,
}

impl Default for Tx {
    fn default() -> Self {
        Self {
            kind: 2,
            chain: 1,
            nonce: 0,
            gas: 21_000,
            max_fee: U256::ZERO,
            priority: U256::ZERO,
            to: Some(Address::repeat_byte(0x11)),
            value: U256::ZERO,
            data: Vec::new(),
            blob_fee: U256::ZERO,
            blobs: 1,
            delegations: vec![(1, Address::repeat_byte(0x11))],
        }
    }
}

impl Tx {
    /// The bytes that are hashed for signing.
    pub fn bytes(&self) -> Vec<u8> {
        let to = self.to.map_or_else(Vec::new, |to| to.to_vec());
        let call = [text(&to), number(self.value), text(&self.data)];
        let (chain, nonce) = (number(self.chain), number(self.nonce));
        let (gas, max_fee) = (number(self.gas), number(self.max_fee));
        let mut fields = match self.kind {
            0 => vec![nonce, max_fee, gas],
            1 => vec![chain, nonce, max_fee, gas],
            _ => vec![chain, nonce, number(self.priority), max_fee, gas],
        };
        fields.extend(call);
        match self.kind {
            0 => fields.extend([number(self.chain), text(&[]), text(&[])]),
            1 | 2 => fields.push(list(&[])),
            3 => {
                let hashes = vec![text(&[1; 32]); self.blobs];
                fields.extend([list(&[]), number(self.blob_fee), list(&hashes)]);
            }
            _ => {
                let tuples = self.delegations.iter().map(|(chain, to)| {
                    let (address, one) = (text(to.as_slice()), number(1));
                    list(&[number(*chain), address, number(0), number(0), one.clone(), one])
                });
                fields.extend([list(&[]), list(&tuples.collect::<Vec<_>>())]);
            }
        }
        let mut bytes = if self.kind == 0 { Vec::new() } else { vec![self.kind] };
        bytes.extend(list(&fields));
        bytes
    }
}

/// Calldata: four bytes and words.
pub fn call(selector: &str, words: &[U256]) -> Vec<u8> {
    let mut data = hex::decode(selector).unwrap();
    words.iter().for_each(|word| data.extend(word.to_be_bytes::<32>()));
    data
}

/// An address as an argument.
pub fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

/// `transfer(to, amount)`.
pub fn transfer(to: Address, amount: impl TryInto<U256>) -> Vec<u8> {
    call("a9059cbb", &[word(to), units(amount)])
}

/// `transferFrom(from, to, amount)`.
pub fn transfer_from(from: Address, to: Address, amount: impl TryInto<U256>) -> Vec<u8> {
    call("23b872dd", &[word(from), word(to), units(amount)])
}

/// `approve(spender, amount)`.
pub fn approve(spender: Address, amount: impl TryInto<U256>) -> Vec<u8> {
    call("095ea7b3", &[word(spender), units(amount)])
}

fn units(amount: impl TryInto<U256>) -> U256 {
    amount.try_into().unwrap_or_else(|_| panic!("not an amount"))
}

fn number(number: impl TryInto<U256>) -> Vec<u8> {
    let bytes = units(number).to_be_bytes::<32>();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    text(&bytes[zeros..])
}

fn text(bytes: &[u8]) -> Vec<u8> {
    if let [single @ 0..0x80] = bytes {
        return vec![*single];
    }
    [head(0x80, bytes.len()), bytes.to_vec()].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let body = items.concat();
    [head(0xc0, body.len()), body].concat()
}

fn head(base: u8, length: usize) -> Vec<u8> {
    if length < 56 {
        return vec![base + u8::try_from(length).unwrap()];
    }
    let bytes = length.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let short = &bytes[zeros..];
    [vec![base + 55 + u8::try_from(short.len()).unwrap()], short.to_vec()].concat()
}
