//! Requests of every kind: so much, for whom, in which slot, by whom.

use alloy_primitives::{Address, U256};
use portcullis_policy::abi;
use portcullis_policy::request::Input;
use portcullis_policy::value::Value;
use proptest::prelude::*;

use super::support::tx::{Tx, approve, transfer};
use super::support::{Ask, address, key};

pub(crate) const PAYEES: [Address; 3] =
    [Address::repeat_byte(0x11), Address::repeat_byte(0x22), Address::repeat_byte(0x33)];
pub(crate) const USD: Address = Address::repeat_byte(0xa1);
pub(crate) const WETH: Address = Address::repeat_byte(0xa2);
pub(crate) const NFT: Address = Address::repeat_byte(0xa3);
pub(crate) const POOL: Address = Address::repeat_byte(0xb1);
pub(crate) const SAFE: Address = Address::repeat_byte(0xb2);
pub(crate) const MULTISEND: Address = Address::repeat_byte(0xb3);
pub(crate) const MULTICALL3: Address = Address::repeat_byte(0xb4);
pub(crate) const LIBRARY: Address = Address::repeat_byte(0xb5);
pub(crate) const WALLET: Address = Address::repeat_byte(0xb6);

pub(crate) const PERMIT: &str =
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
pub(crate) const ORDER: &str = "Order(address maker,uint256 amount,uint256 deadline)";

pub(crate) const KINDS: u8 = 18;

/// A request of some kind: so much, for whom, in which slot, by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) kind: u8,
    pub(crate) amount: u8,
    pub(crate) whom: usize,
    pub(crate) nonce: u8,
    pub(crate) by_b: bool,
}

pub(crate) fn wish() -> impl Strategy<Value = Wish> {
    (0..KINDS, 0_u8..12, 0_usize..3, 0_u8..12, any::<bool>())
        .prop_map(|(kind, amount, whom, nonce, by_b)| Wish { kind, amount, whom, nonce, by_b })
}

fn encoded(signature: &str, values: &[Value]) -> Vec<u8> {
    let function = abi::function(signature).unwrap();
    [&function.selector()[..], &abi::encode(function.parameters(), values)].concat()
}

fn uint(number: impl TryInto<U256>) -> Value {
    Value::Uint(number.try_into().unwrap_or_else(|_| panic!("a number")))
}

fn exec(to: Address, value: U256, data: Vec<u8>, operation: u8) -> Vec<u8> {
    let values = [
        Value::Address(to),
        Value::Uint(value),
        Value::Bytes(data),
        uint(operation),
        uint(0_u8),
        uint(0_u8),
        uint(0_u8),
        Value::Address(Address::ZERO),
        Value::Address(Address::ZERO),
        Value::Bytes(vec![1; 65]),
    ];
    encoded(
        "execTransaction(address to, uint256 value, bytes data, uint8 operation, \
         uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, \
         address refundReceiver, bytes signatures)",
        &values,
    )
}

fn typed(kind: &str, (domain, contract): (&str, Address), message: &str) -> Input {
    let (name, members) = kind.split_once('(').unwrap();
    let members: Vec<String> = members
        .trim_end_matches(')')
        .split(',')
        .map(|member| {
            let (kind, name) = member.split_once(' ').unwrap();
            format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}")
        })
        .collect();
    Input::Typed(format!(
        "{{\"types\":{{\"{name}\":[{}]}},\"primaryType\":\"{name}\",\
         \"domain\":{{\"name\":\"{domain}\",\
         \"chainId\":1,\"verifyingContract\":\"{contract:#x}\"}},\"message\":{{{message}}}}}",
        members.join(",")
    ))
}

impl Wish {
    pub(crate) fn ask(self, now: u64) -> Ask {
        let Self { kind, amount, whom, nonce, by_b } = self;
        let input = match kind {
            0..=13 => {
                let (to, value, data) = self.call();
                let max_fee = U256::from(1_000_000_000_000_u64);
                let (to, nonce) = (Some(to), u64::from(nonce));
                let tx = Tx { nonce, gas: 100_000, max_fee, to, value, data, ..Tx::default() };
                Input::Transaction(tx.bytes())
            }
            14 => self.permit(now),
            15 => self.order(now),
            16 => self.sign_in(),
            _ => {
                let to = [WALLET, LIBRARY, Address::ZERO][whom];
                let nonce = if nonce == 0 { 0x80 } else { nonce };
                let head = [0x05, 0xd7, 0x01, 0x94];
                Input::Delegation([&head[..], to.as_slice(), &[nonce]].concat())
            }
        };
        let caller = if by_b { "b" } else { "a" };
        let name = format!("{kind}.{amount}.{whom}.{nonce}.{now}");
        Ask { caller: caller.into(), ..Ask::input(&name, input) }
    }

    /// A transaction: whom it calls, with how much coin and what data.
    fn call(self) -> (Address, U256, Vec<u8>) {
        let amount = u64::from(self.amount);
        let eth = U256::from(amount) * U256::from(10).pow(U256::from(18));
        let (whom, own, none) = (PAYEES[self.whom], address(key(1)), U256::ZERO);
        match self.kind {
            0 => (whom, eth, Vec::new()),
            1 => ([WETH, NFT, LIBRARY][self.whom], eth, Vec::new()),
            2 => (USD, none, transfer(whom, amount)),
            3 => (USD, none, approve(POOL, amount)),
            4 => (WETH, eth, encoded("deposit()", &[])),
            5 => (WETH, none, encoded("withdraw(uint256 a)", &[Value::Uint(eth)])),
            6 => {
                let values = [Value::Address(own), Value::Address(whom), uint(7_u8)];
                (NFT, none, encoded("transferFrom(address a, address b, uint256 c)", &values))
            }
            7 => {
                let values = [Value::Address(POOL), Value::Bool(amount > 0)];
                (NFT, none, encoded("setApprovalForAll(address a, bool b)", &values))
            }
            8 => {
                let inner = |to: Address, value: U256, data: Vec<u8>| {
                    let parts = [Value::Address(to), Value::Bool(false), Value::Uint(value)];
                    Value::List([&parts[..], &[Value::Bytes(data)]].concat())
                };
                let contracts = [POOL, LIBRARY, NFT];
                let target = if self.nonce & 2 == 0 { contracts[self.whom] } else { whom };
                let calls =
                    vec![inner(target, eth, Vec::new()), inner(USD, none, transfer(whom, amount))];
                let signature = "aggregate3Value((address target, bool allow, uint256 value, \
                                 bytes callData)[] calls)";
                (MULTICALL3, eth, encoded(signature, &[Value::List(calls)]))
            }
            9 => (SAFE, none, exec(whom, eth, Vec::new(), 0)),
            10 => (SAFE, none, exec(LIBRARY, none, vec![1, 2, 3, 4], 1)),
            11 => {
                let mut packed = vec![0];
                packed.extend(whom.as_slice());
                packed.extend(eth.to_be_bytes::<32>());
                packed.extend([0; 32]);
                let data = encoded("multiSend(bytes a)", &[Value::Bytes(packed)]);
                (SAFE, none, exec(MULTISEND, none, data, 1))
            }
            12 => (POOL, none, encoded("f(uint256 a)", &[uint(amount)])),
            _ => {
                let order = Value::List(vec![Value::Address(whom), uint(amount)]);
                let orders = [Value::List(vec![order.clone(), order])];
                let signature = "payAll((address to, uint256 amount)[] orders)";
                (POOL, none, encoded(signature, &orders))
            }
        }
    }

    fn permit(self, now: u64) -> Input {
        let Self { amount, nonce, .. } = self;
        let (own, deadline) = (address(key(1)), now / 1_000 + 600);
        let message = format!(
            "\"owner\":\"{own:#x}\",\"spender\":\"{POOL:#x}\",\"value\":\"{amount}\",\
             \"nonce\":\"{nonce}\",\"deadline\":\"{deadline}\""
        );
        typed(PERMIT, ("USD", USD), &message)
    }

    fn order(self, now: u64) -> Input {
        let (own, amount) = (address(key(1)), self.amount);
        let deadline = now / 1_000 + 600 * (1 + u64::from(self.nonce % 3));
        let message =
            format!("\"maker\":\"{own:#x}\",\"amount\":\"{amount}\",\"deadline\":\"{deadline}\"");
        typed(ORDER, ("Pool", POOL), &message)
    }

    fn sign_in(self) -> Input {
        let domain = ["one.example", "two.example"][usize::from(self.nonce % 2)];
        let own = address(key(1)).to_checksum(None);
        // The vault begins at 22:13:20 of the 14th.
        let until = ["14T23:10", "15T00:10", "15T01:10"][usize::from(self.nonce % 3)];
        let text = format!(
            "{domain} wants you to sign in with your Ethereum account:\n{own}\n\n\n\
             URI: https://{domain}\nVersion: 1\nChain ID: 1\nNonce: 3289175{}0\n\
             Issued At: 2023-11-14T22:00:00Z\nExpiration Time: 2023-11-{until}:00Z",
            self.nonce % 10
        );
        Input::Message(text.into_bytes())
    }
}
