//! Valid transactions, and ways to break them.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_rlp::{Encodable, Header};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Legacy,
    AccessList,
    DynamicFee,
    Blob,
    SetCode,
}

/// Chance, repeatable by its seed.
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(bytes.as_mut_slice());
        bytes
    }

    /// As likely small as large; zero, one and the largest more often than chance.
    fn number(&mut self, bits: usize) -> U256 {
        let largest = U256::MAX >> (256 - bits);
        match self.below(20) {
            0 => U256::ZERO,
            1 => U256::ONE,
            2 => largest,
            _ => {
                let width = 1 + self.below(bits);
                U256::from_be_slice(&self.bytes(32)) >> (256 - width)
            }
        }
    }

    fn address(&mut self) -> Address {
        if self.percent(5) { Address::ZERO } else { Address::from_slice(&self.bytes(20)) }
    }

    fn word(&mut self) -> B256 {
        B256::from_slice(&self.bytes(32))
    }

    /// Calldata around the lengths at which RLP changes its form.
    fn data(&mut self) -> Vec<u8> {
        let length = match self.below(10) {
            0 => 0,
            1 => return vec![self.below(256) as u8],
            2 => 54 + self.below(4),
            3 => 254 + self.below(4),
            4 => self.below(5_000),
            _ => 4 + 32 * self.below(6),
        };
        self.bytes(length)
    }

    fn access_list(&mut self) -> AccessList {
        let entries = if self.percent(50) { 0 } else { self.below(4) };
        let mut entry = |_| {
            let keys = self.below(4);
            let address = self.address();
            AccessListItem { address, storage_keys: (0..keys).map(|_| self.word()).collect() }
        };
        AccessList((0..entries).map(&mut entry).collect())
    }

    fn chain(&mut self) -> u64 {
        let known = [1, 10, 8_453, 42_161, 11_155_111, 31_337, 0x7fff_ffff_ffff_ffed];
        if self.percent(70) {
            return known[self.below(known.len())];
        }
        self.number(62).to::<u64>().max(1)
    }

    fn nonce(&mut self) -> u64 {
        self.number(64).to::<u64>().min(u64::MAX - 1)
    }

    /// (priority fee, max fee)
    fn fees(&mut self) -> (u128, u128) {
        let (one, two) = (self.number(128).to(), self.number(128).to());
        (u128::min(one, two), u128::max(one, two))
    }

    fn authorization(&mut self, chain: u64) -> SignedAuthorization {
        let chain_id = if self.percent(20) { U256::ZERO } else { U256::from(chain) };
        let (address, nonce) = (self.address(), self.nonce());
        let y_parity = u8::from(self.percent(50));
        let (r, s) = (self.number(255), self.number(254));
        SignedAuthorization::new_unchecked(
            Authorization { chain_id, address, nonce },
            y_parity,
            r.max(U256::ONE),
            s.max(U256::ONE),
        )
    }
}

/// A preimage of this kind: as it should be, or broken in one way.
pub(crate) fn case(kind: Kind, dice: &mut Dice) -> Vec<u8> {
    let valid = valid(kind, dice);
    if dice.percent(42) { valid } else { broken(kind, valid, dice) }
}

fn valid(kind: Kind, dice: &mut Dice) -> Vec<u8> {
    let (chain_id, nonce, value) = (dice.chain(), dice.nonce(), dice.number(256));
    let gas_limit = dice.number(64).to::<u64>().max(1);
    let (max_priority_fee_per_gas, max_fee_per_gas) = dice.fees();
    let gas_price = max_fee_per_gas;
    let address = dice.address();
    let create = dice.percent(15);
    let to = if create { TxKind::Create } else { TxKind::Call(address) };
    let mut input = dice.data();
    if create && input.is_empty() {
        input.push(0x60);
    }
    let input = input.into();
    let access_list = dice.access_list();
    match kind {
        Kind::Legacy => {
            let chain_id = Some(chain_id);
            TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input }
                .encoded_for_signing()
        }
        Kind::AccessList => {
            TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
                .encoded_for_signing()
        }
        Kind::DynamicFee => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .encoded_for_signing(),
        Kind::Blob => {
            let mut hash = |_| {
                let mut hash = dice.word();
                hash[0] = 1;
                hash
            };
            let blob_versioned_hashes = (0..=usize::from(nonce as u8 % 7)).map(&mut hash);
            TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: address,
                value,
                access_list,
                blob_versioned_hashes: blob_versioned_hashes.collect(),
                max_fee_per_blob_gas: dice.number(128).to(),
                input,
            }
            .encoded_for_signing()
        }
        Kind::SetCode => TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: address,
            value,
            access_list,
            authorization_list: (0..=dice.below(3)).map(|_| dice.authorization(chain_id)).collect(),
            input,
        }
        .encoded_for_signing(),
    }
}

/// RLP taken apart, so that one place of it can be written wrongly.
#[derive(Clone)]
enum Node {
    Bytes(Vec<u8>),
    List(Vec<Node>),
    /// Written as it stands, right or wrong.
    Raw(Vec<u8>),
}

impl Node {
    fn parse(input: &mut &[u8]) -> Self {
        let header = Header::decode(input).unwrap();
        let (mut payload, rest) = input.split_at(header.payload_length);
        *input = rest;
        if !header.list {
            return Self::Bytes(payload.to_vec());
        }
        let mut items = Vec::new();
        while !payload.is_empty() {
            items.push(Self::parse(&mut payload));
        }
        Self::List(items)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().encode(out),
            Self::Raw(bytes) => out.extend_from_slice(bytes),
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.write(&mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend_from_slice(&payload);
            }
        }
    }

    fn bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn size(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Self::Bytes(_) | Self::Raw(_) => 1,
        }
    }

    /// The node at a place, counted in reading order; the whole is 0.
    fn at(&mut self, place: &mut usize) -> Option<&mut Self> {
        if *place == 0 {
            return Some(self);
        }
        *place -= 1;
        let Self::List(items) = self else { return None };
        for item in items {
            let size = item.size();
            if *place < size {
                return item.at(place);
            }
            *place -= size;
        }
        None
    }

    fn items(&mut self) -> &mut Vec<Self> {
        let Self::List(items) = self else { panic!("not a list") };
        items
    }
}

fn number(value: U256) -> Node {
    Node::Bytes(value.to_be_bytes_trimmed_vec())
}

fn broken(kind: Kind, valid: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..=1 => corrupted(valid, dice),
        2..=4 => with_tree(kind, &valid, |tree| misshape(tree, dice)),
        _ => with_tree(kind, &valid, |tree| misuse(kind, tree, dice)),
    }
}

fn with_tree(kind: Kind, valid: &[u8], edit: impl FnOnce(&mut Node)) -> Vec<u8> {
    let (prefix, mut body) = valid.split_at(usize::from(kind != Kind::Legacy));
    let mut tree = Node::parse(&mut body);
    edit(&mut tree);
    [prefix, &tree.bytes()].concat()
}

/// Bytes changed without looking.
fn corrupted(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let place = dice.below(bytes.len());
    match dice.below(6) {
        0 => bytes.truncate(place),
        1 => {
            let more = 1 + dice.below(40);
            bytes.extend(dice.bytes(more));
        }
        2 => bytes.insert(place, dice.below(256) as u8),
        3 => {
            bytes.remove(place);
        }
        4 => bytes[0] = dice.below(256) as u8,
        _ => bytes[place.min(60)] ^= 1 << dice.below(8),
    }
    bytes
}

/// Another form of an item, or another number of items.
fn misshape(tree: &mut Node, dice: &mut Dice) {
    let mut place = dice.below(tree.size());
    let how = dice.below(8);
    let noise = dice.bytes(33);
    let Some(node) = tree.at(&mut place) else { return };
    *node = match (node.clone(), how) {
        (Node::Bytes(bytes), 0) => Node::Bytes([&[0][..], &bytes].concat()),
        (Node::Bytes(bytes), 1) => {
            let mut raw = vec![0x81];
            raw.extend(bytes.first().or(Some(&0)));
            Node::Raw(raw)
        }
        (Node::Bytes(bytes), 2) => Node::Raw(long_form(0xb7, &bytes)),
        (Node::Bytes(bytes), 3) => Node::List(vec![Node::Bytes(bytes)]),
        (Node::Bytes(bytes), 4) => Node::Bytes(bytes[bytes.len().min(1)..].to_vec()),
        (Node::Bytes(bytes), _) => Node::Bytes([&bytes[..], &noise[..how]].concat()),
        (Node::List(items), 0) => Node::List([items, vec![Node::Bytes(vec![])]].concat()),
        (Node::List(items), 1) => Node::List(items[items.len().min(1)..].to_vec()),
        (Node::List(items), 2) => {
            let mut payload = Vec::new();
            items.iter().for_each(|item| item.write(&mut payload));
            Node::Raw(long_form(0xf7, &payload))
        }
        (Node::List(_), 3) => Node::Bytes(vec![]),
        (Node::List(items), 4) => Node::List(items[..items.len().saturating_sub(1)].to_vec()),
        (Node::List(items), 5) => Node::List([items, vec![Node::List(vec![])]].concat()),
        (Node::List(items), 6) => Node::List(vec![Node::List(items)]),
        (Node::List(items), _) => Node::Bytes(Node::List(items).bytes()),
        (Node::Raw(_), _) => return,
    };
}

/// A length in more bytes than it needs.
fn long_form(base: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    let width = 8 - (payload.len() as u64).leading_zeros() as usize / 8;
    let width = (width + usize::from(payload.len() > 55)).clamp(1, 8);
    [&[base + width as u8][..], &length[8 - width..], payload].concat()
}

/// Well-formed, and not to be signed.
fn misuse(kind: Kind, tree: &mut Node, dice: &mut Dice) {
    let typed = kind != Kind::Legacy;
    let dynamic = usize::from(!matches!(kind, Kind::Legacy | Kind::AccessList));
    let nonce = usize::from(typed);
    let gas_limit = nonce + 2 + dynamic;
    let (to, value, data) = (gas_limit + 1, gas_limit + 2, gas_limit + 3);
    let chain = if typed { 0 } else { 6 };
    let items = tree.items();
    // The largest cases are slow and need not come often.
    let ways = if dice.below(40) == 0 { 18 } else { 15 };
    match dice.below(ways) {
        0 => items[chain] = number(U256::ZERO),
        1 => {
            let above = U256::from(0x7fff_ffff_ffff_ffee_u64 + dice.below(20) as u64);
            items[chain] = number(above);
        }
        2 => items[nonce] = number(U256::from(u64::MAX)),
        3 => items[gas_limit] = number(U256::ZERO),
        4 => items[[nonce, gas_limit][dice.below(2)]] = number(U256::ONE << 64),
        5 => items[nonce + 1 + dynamic] = number(U256::ONE << (128 + dice.below(127))),
        6 => items[value] = Node::Bytes([&[1][..], &[0; 32]].concat()),
        7 => (items[to], items[data]) = (number(U256::ZERO), number(U256::ZERO)),
        8 => {
            // The priority fee above the max fee; in a legacy kind, a price beyond 128 bits.
            items[nonce + 1] = number(if typed { U256::MAX >> 128 } else { U256::MAX });
            items[nonce + 2] = number(U256::from(1_000_000));
        }
        9 => {
            let length = [19, 21, 32, 1][dice.below(4)];
            items[to] = Node::Bytes(dice.bytes(length));
        }
        10 => {
            // Signed already, as far as the shape goes.
            let ends = if typed { items.len() } else { 6 };
            items.truncate(ends);
            items.extend([number(U256::from(37)), number(U256::MAX), number(U256::MAX)]);
        }
        11 if !typed => items.truncate(6),
        11 => items.push(number(U256::ONE)),
        12..=14 => misuse_last(kind, items, dice),
        15 => items[data] = Node::Bytes(vec![0xaa; 131_072]),
        16 => {
            items[to] = number(U256::ZERO);
            items[data] = Node::Bytes(vec![0x60; 49_152 + dice.below(3)]);
        }
        _ if typed => {
            let entry = Node::List(vec![Node::Bytes(vec![9; 20]), Node::List(vec![])]);
            items[data + 1] = Node::List(vec![entry; 4_095 + dice.below(4)]);
        }
        _ => items[8] = number(U256::ONE),
    }
}

/// What only one kind has.
fn misuse_last(kind: Kind, items: &mut [Node], dice: &mut Dice) {
    let hash = |version: u8| Node::Bytes([&[version][..], &[7; 31]].concat());
    let last = items.len() - 1;
    match kind {
        Kind::Legacy => items[7 + dice.below(2)] = Node::Bytes(vec![dice.below(2) as u8]),
        Kind::AccessList | Kind::DynamicFee => {
            let short = Node::List(vec![Node::Bytes(dice.bytes(32)); dice.below(4)]);
            items[last] = Node::List(vec![short]);
        }
        Kind::Blob => {
            items[last] = Node::List(match dice.below(4) {
                0 => vec![],
                1 => vec![hash(1), hash(dice.below(256) as u8)],
                2 => vec![hash(1); 63 + dice.below(4)],
                _ => vec![Node::Bytes(dice.bytes(31))],
            });
        }
        Kind::SetCode => misuse_tuples(&mut items[last], dice),
    }
}

fn misuse_tuples(list: &mut Node, dice: &mut Dice) {
    let tuples = list.items();
    let parts = tuples[0].items();
    match dice.below(8) {
        0 => parts[0] = number(dice.number(256)),
        1 => parts[2] = number(U256::from(u64::MAX)),
        2 => parts[3] = number(U256::from(dice.below(256))),
        3 => parts[4] = number(U256::ZERO),
        4 => parts[5] = number(U256::MAX),
        5 => parts[5] = number(U256::ZERO),
        6 => tuples.clear(),
        _ => *tuples = vec![tuples[0].clone(); 255 + dice.below(4)],
    }
}
