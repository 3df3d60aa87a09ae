//! A real node is the judge: what we sign is mined, from the key's own address, and what a book
//! does not pin is refused before any node could see it.

use std::fs;
use std::process::Command;

use alloy_consensus::{SignableTransaction, TxEip1559, TypedTransaction};
use alloy_eips::eip2718::Encodable2718;
use alloy_network::{Ethereum, EthereumWallet, NetworkWallet, TxSigner};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, keccak256};
use portcullis_client::wire::KeyState;
use portcullis_client::{AlloyError, Client, KeyRef, PortcullisSigner};
use portcullis_softhsm_tests::anvil::{Anvil, Receipt};
use portcullis_softhsm_tests::curve::SoftwareKey;
use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::server::Server;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, PAYOUTS, STRANGER, SUPPLIER, USDC, Vault, ether, reason, sign,
};
use serde_json::{Value, json};

/// The one contract the book lets accounts delegate to.
const DELEGATE: Address = address!("00000000000000000000000000000000de1e9a7e");

/// Init code that deploys one byte, STOP: `PUSH1 1, PUSH1 0, RETURN`.
const INIT_CODE: [u8; 5] = [0x60, 0x01, 0x60, 0x00, 0xf3];

/// Stores the second argument of a call under the first: enough of a token to see what arrived.
/// `PUSH1 36, CALLDATALOAD, PUSH1 4, CALLDATALOAD, SSTORE, STOP`.
const STORING_TOKEN: &str = "0x602435600435550000";

/// A vault, its signer, a key with ether on a node, and the service that may use it.
struct Stage {
    node: Anvil,
    vault: Vault,
    server: Server,
    client: Client,
    key: KeyRef,
}

impl Stage {
    async fn set(book: &BookText) -> Result<Self, Failure> {
        let node = Anvil::start()?;
        let vault = Vault::new(Through::Real, &book.to_string())?;
        let server = vault.serve()?;
        let key = vault.hot_key(&server).await?;
        let client = vault.client(&server, PAYOUTS).await?;
        node.set_balance(key.address, ether(100))?;
        Ok(Self { node, vault, server, client, key })
    }

    /// Has it signed, hands it to the node, waits until it is mined.
    async fn mine(&self, unsigned: &tx::Unsigned) -> Result<(B256, Receipt), Failure> {
        let signed = sign(&self.client, &self.key, &tx::preimage(unsigned)).await?;
        let hash = self.node.send(&tx::for_node(&signed.raw_transaction)?)?;
        assert_eq!(hash, signed.transaction_hash, "the node and we name it alike");
        Ok((hash, self.node.receipt(hash)?))
    }

    async fn reason(&self, unsigned: &tx::Unsigned) -> String {
        reason(&self.client, &self.key, &tx::preimage(unsigned)).await
    }

    /// `portctl audit reconcile` as a person of security: its exit code, and what it said.
    fn reconcile(&self, arguments: &[&str]) -> Result<(Option<i32>, Value), Failure> {
        let sam = self.vault.person(&self.server, "sam")?;
        let text = format!(
            "endpoint = {:?}\nca = {:?}\ncertificate = {:?}\nprivate_key = {:?}\n",
            sam.endpoint, sam.ca, sam.certificate, sam.private_key
        );
        let folder = self.vault.folder.path();
        fs::write(folder.join("portctl.toml"), text)?;
        let rpc = format!("anvil=http://{}", self.node.address());
        let ran = Command::new(place::binary("portctl")?)
            .args(["audit", "reconcile", "--rpc", &rpc, "--output", "json"])
            .args(arguments)
            .current_dir(folder)
            .output()?;
        let said = serde_json::from_slice(&ran.stdout);
        let told = said.map_err(|_| String::from_utf8_lossy(&ran.stderr).into_owned())?;
        Ok((ran.status.code(), told))
    }

    fn code_at(&self, account: Address) -> Result<Value, Failure> {
        Ok(self.node.call("eth_getCode", json!([account.to_string(), "latest"]))?)
    }
}

/// The usual book, and the one delegate.
fn with_delegate() -> BookText {
    BookText { more: format!("delegate = [\"{DELEGATE:#x}\"]"), ..BookText::default() }
}

fn pay(nonce: u64, value: U256) -> Payment {
    Payment::new(CHAIN, nonce, SUPPLIER, value)
}

fn delegating(nonce: u64, chain: u64, delegate: Address) -> Result<tx::Unsigned, Failure> {
    let account = SoftwareKey::named("delegator")?;
    let mut payment = pay(nonce, U256::from(1));
    payment.authorizations = vec![tx::authorization(&account, chain, delegate, 0)];
    Ok(payment.unsigned(Kind::Eip7702))
}

fn deploying(nonce: u64, init_code: &[u8], value: U256) -> tx::Unsigned {
    tx::Unsigned::Eip1559(TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Create,
        value,
        input: Bytes::copy_from_slice(init_code),
        ..TxEip1559::default()
    })
}

#[tokio::test]
async fn a_node_mines_each_type_of_transaction_and_the_sender_is_the_token_keys_address()
-> Result<(), Failure> {
    let stage = Stage::set(&with_delegate()).await?;
    let delegator = SoftwareKey::named("delegator")?;
    for (kind, number) in Kind::ALL.into_iter().zip(0u64..) {
        let mut payment = pay(number, U256::from(1_000));
        payment.authorizations = vec![tx::authorization(&delegator, CHAIN, DELEGATE, 0)];
        let (_, receipt) = stage.mine(&payment.unsigned(kind)).await?;
        let expected = Receipt { from: stage.key.address, kind: number, succeeded: true };
        assert_eq!(receipt, expected, "{kind:?}");
    }
    assert_eq!(stage.node.balance(SUPPLIER)?, U256::from(5_000));
    // EIP-7702: an account that delegates carries 0xef0100 and the delegate's address as its code.
    let code = stage.code_at(delegator.address())?;
    assert_eq!(code, json!(format!("0xef0100{}", hex::encode(DELEGATE))));
    Ok(())
}

#[tokio::test]
async fn a_token_transfer_is_mined_and_the_contract_sees_recipient_and_amount()
-> Result<(), Failure> {
    let stage = Stage::set(&BookText::default()).await?;
    stage.node.call("anvil_setCode", json!([USDC.to_string(), STORING_TOKEN]))?;
    let amount = U256::from(250_000_000u64);
    let transfer = Payment::new(CHAIN, 0, USDC, U256::ZERO).erc20_transfer(SUPPLIER, amount);
    let (_, receipt) = stage.mine(&transfer.unsigned(Kind::Eip1559)).await?;
    assert_eq!(receipt, Receipt { from: stage.key.address, kind: 2, succeeded: true });
    let slot = [USDC.to_string(), SUPPLIER.into_word().to_string(), "latest".into()];
    let stored = stage.node.call("eth_getStorageAt", json!(slot))?;
    assert_eq!(stored, json!(B256::from(amount).to_string()));

    let elsewhere = Payment::new(CHAIN, 1, USDC, U256::ZERO).erc20_transfer(STRANGER, amount);
    let refused = stage.reason(&elsewhere.unsigned(Kind::Eip1559)).await;
    assert_eq!(refused, "TOKEN_RECIPIENT_NOT_ALLOWED");
    Ok(())
}

#[tokio::test]
async fn what_an_alloy_wallet_signs_through_us_is_mined_and_what_the_book_refuses_it_cannot_sign()
-> Result<(), Failure> {
    let stage = Stage::set(&BookText::default()).await?;
    let sender = stage.key.address;
    let signer = PortcullisSigner::for_address(stage.client.clone(), sender).await?;
    let wallet = EthereumWallet::from(signer.clone().with_chain_id(Some(CHAIN)));
    let transfer = |nonce, to: Address| TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: to.into(),
        value: U256::from(7),
        ..TxEip1559::default()
    };
    let typed = TypedTransaction::Eip1559(transfer(0, SUPPLIER));
    let envelope = NetworkWallet::<Ethereum>::sign_transaction_from(&wallet, sender, typed).await?;
    let hash = stage.node.send(&envelope.encoded_2718())?;
    let receipt = stage.node.receipt(hash)?;
    assert_eq!(receipt, Receipt { from: sender, kind: 2, succeeded: true });
    assert_eq!(stage.node.balance(SUPPLIER)?, U256::from(7));

    let mut to_stranger = transfer(1, STRANGER);
    let unsigned: &mut dyn SignableTransaction<_> = &mut to_stranger;
    let error = signer.sign_transaction(unsigned).await.expect_err("a stranger is no supplier");
    let alloy_signer::Error::Other(inner) = error else { panic!("another error: {error}") };
    let Some(AlloyError::Sign(refused)) = inner.downcast_ref() else { panic!("{inner}") };
    assert_eq!(refused.reason(), Some("RECIPIENT_NOT_ALLOWED"));
    Ok(())
}

#[tokio::test]
async fn a_pinned_init_code_is_deployed_and_any_other_is_refused_and_so_is_value_sent_along()
-> Result<(), Failure> {
    let more = format!("deploy = [\"{}\"]", keccak256(INIT_CODE));
    let stage = Stage::set(&BookText { more, ..BookText::default() }).await?;
    let mut other = INIT_CODE;
    other[1] = 0x02;
    assert_eq!(stage.reason(&deploying(0, &other, U256::ZERO)).await, "DEPLOY_NOT_ALLOWED");
    let with_value = deploying(0, &INIT_CODE, U256::from(1));
    assert_eq!(stage.reason(&with_value).await, "DEPLOY_NOT_ALLOWED");

    let (_, receipt) = stage.mine(&deploying(0, &INIT_CODE, U256::ZERO)).await?;
    assert_eq!(receipt, Receipt { from: stage.key.address, kind: 2, succeeded: true });
    assert_eq!(stage.code_at(stage.key.address.create(0))?, json!("0x00"));
    Ok(())
}

#[tokio::test]
async fn without_a_pinned_init_code_nothing_is_deployed_and_without_a_delegate_nothing_delegates()
-> Result<(), Failure> {
    let stage = Stage::set(&BookText::default()).await?;
    let deploy = deploying(0, &INIT_CODE, U256::ZERO);
    assert_eq!(stage.reason(&deploy).await, "DEPLOY_NOT_ALLOWED");
    assert_eq!(stage.reason(&delegating(0, CHAIN, DELEGATE)?).await, "DELEGATE_NOT_ALLOWED");
    Ok(())
}

#[tokio::test]
async fn an_authorisation_to_an_unlisted_delegate_or_for_all_chains_is_refused()
-> Result<(), Failure> {
    let stage = Stage::set(&with_delegate()).await?;
    assert_eq!(stage.reason(&delegating(0, CHAIN, STRANGER)?).await, "DELEGATE_NOT_ALLOWED");
    assert_eq!(stage.reason(&delegating(0, 0, DELEGATE)?).await, "DELEGATE_NOT_ALLOWED");
    let other_chain = delegating(0, CHAIN + 1, DELEGATE)?;
    assert_eq!(stage.reason(&other_chain).await, "TX_AUTHORIZATION_CHAIN");

    // One bad tuple among good ones spoils the whole list.
    let account = SoftwareKey::named("delegator")?;
    let mut mixed = pay(0, U256::from(1));
    mixed.authorizations = vec![
        tx::authorization(&account, CHAIN, DELEGATE, 0),
        tx::authorization(&account, 0, DELEGATE, 1),
    ];
    assert_eq!(stage.reason(&mixed.unsigned(Kind::Eip7702)).await, "DELEGATE_NOT_ALLOWED");
    assert_eq!(stage.reason(&delegating(0, CHAIN, DELEGATE)?).await, "signed");
    Ok(())
}

#[tokio::test]
async fn a_fee_bump_within_budget_is_signed_charged_once_and_only_one_of_the_two_is_mined()
-> Result<(), Failure> {
    // Room for one payment of 1 ETH with fees, not for two.
    let book = BookText {
        per_tx: "1.5 ETH".into(),
        window: "\"1.001 ETH / 1h\"".into(),
        ..BookText::default()
    };
    let stage = Stage::set(&book).await?;
    stage.node.call("evm_setAutomine", json!([false]))?;
    let first = pay(0, ether(1));
    let mut bumped = first.clone();
    bumped.max_fee_per_gas *= 2;
    bumped.max_priority_fee_per_gas *= 2;
    let mut excessive = first.clone();
    excessive.max_fee_per_gas *= 10;

    let mut hashes = Vec::new();
    for payment in [&first, &bumped] {
        let preimage = tx::preimage(&payment.unsigned(Kind::Eip1559));
        let signed = sign(&stage.client, &stage.key, &preimage).await?;
        hashes.push(stage.node.send(&signed.raw_transaction)?);
    }
    let over = "OVER_WINDOW_LIMIT";
    assert_eq!(stage.reason(&excessive.unsigned(Kind::Eip1559)).await, over);
    assert_eq!(stage.reason(&pay(1, ether(1)).unsigned(Kind::Eip1559)).await, over);

    stage.node.call("evm_mine", json!([]))?;
    assert!(stage.node.receipt(hashes[1])?.succeeded);
    let replaced = stage.node.call("eth_getTransactionReceipt", json!([hashes[0].to_string()]))?;
    assert_eq!(replaced, Value::Null, "both were mined");
    assert_eq!(stage.node.balance(SUPPLIER)?, ether(1));
    Ok(())
}

#[tokio::test]
async fn what_was_signed_before_a_restart_and_after_it_is_mined_from_the_same_address()
-> Result<(), Failure> {
    let mut stage = Stage::set(&BookText::default()).await?;
    stage.mine(&pay(0, U256::from(1)).unsigned(Kind::Eip1559)).await?;
    stage.server = stage.server.crash_and_restart()?;
    stage.client = stage.vault.client(&stage.server, PAYOUTS).await?;
    let (_, receipt) = stage.mine(&pay(1, U256::from(1)).unsigned(Kind::Legacy)).await?;
    assert_eq!(receipt, Receipt { from: stage.key.address, kind: 0, succeeded: true });
    Ok(())
}

#[tokio::test]
async fn what_is_mined_of_a_key_without_a_record_is_found_and_the_key_is_stopped()
-> Result<(), Failure> {
    let stage = Stage::set(&with_delegate()).await?;
    let delegator = SoftwareKey::named("delegator")?;
    for (kind, number) in Kind::ALL.into_iter().zip(0u64..) {
        let mut payment = pay(number, U256::from(1_000));
        payment.authorizations = vec![tx::authorization(&delegator, CHAIN, DELEGATE, 0)];
        stage.mine(&payment.unsigned(kind)).await?;
    }
    let all = ["--from-block", "0", "--confirmations", "0"];
    let (code, told) = stage.reconcile(&all)?;
    assert_eq!((code, &told["matched"]), (Some(0), &json!(5)), "{told:#}");
    assert_eq!((&told["outside"], &told["signed_not_mined"]), (&json!([]), &json!(0)));

    let account = stage.key.address.to_string();
    stage.node.call("anvil_impersonateAccount", json!([account]))?;
    let theft = json!([{ "from": account, "to": STRANGER.to_string(), "value": "0x1" }]);
    let hash = stage.node.call("eth_sendTransaction", theft)?;
    stage.node.receipt(hash.as_str().ok_or("no hash")?.parse()?)?;
    // It is not deep enough yet to accuse anybody.
    let (code, told) = stage.reconcile(&["--from-block", "0"])?;
    assert_eq!((code, &told["outside"]), (Some(0), &json!([])), "{told:#}");
    // The number of transactions tells that there is one, wherever it is.
    let (code, told) = stage.reconcile(&["--confirmations", "0"])?;
    assert_eq!((code, &told["outside"][0]["nonce"]), (Some(8), &json!(5)), "{told:#}");
    let (code, told) = stage.reconcile(&[&all[..], &["--freeze"]].concat())?;
    assert_eq!((code, &told["outside"][0]["hash"]), (Some(8), &hash), "{told:#}");
    assert_eq!((&told["matched"], &told["frozen"][0]["recorded"]), (&json!(5), &json!(true)));
    let sam = stage.vault.control(&stage.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);
    let (_, told) = stage.reconcile(&[&all[..], &["--freeze"]].concat())?;
    assert_eq!(told["frozen"][0]["already"], json!("frozen"), "{told:#}");
    assert_eq!(stage.reason(&pay(6, U256::from(1)).unsigned(Kind::Eip1559)).await, "FROZEN");
    Ok(())
}
