//! `portctl drain` against a real node: coin and three tokens, an allowance, a transaction that
//! waits, all to the successor; and what it says when it cannot.

use std::fs;
use std::process::{Command, Output, Stdio};

use alloy_primitives::{Address, Bytes, U256};
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, KeyState};
use portcullis_client::{ClientConfig, SignError};
use portcullis_softhsm_tests::anvil::Anvil;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, SUPPLIER, USDC, Vault, ether, governed_book,
};
use portcullis_softhsm_tests::{erc20, place, world};
use serde_json::json;

use crate::fence::until;
use crate::support::{Scene, eventually, signed};

pub(crate) const SWEEPER: &str = "spiffe://test/reports";
pub(crate) const DAI: Address = Address::repeat_byte(0xd1);
pub(crate) const EUR: Address = Address::repeat_byte(0xe0);

pub(crate) fn asset(name: &str, address: Address) -> String {
    format!(
        "[asset.{name}]\nkind = \"erc20\"\nchain = \"anvil\"\naddress = \"{address:#x}\"\n\
         decimals = 18\n"
    )
}

fn book() -> String {
    let text = governed_book();
    let tables = format!("{}{}{}", text.tables, asset("DAI", DAI), asset("EUR", EUR));
    let text = BookText { tables, ..text }.to_string();
    let limits = "window = \"5_000 USDC / 1h\"";
    let allowance = "allowance = { spender = \"@suppliers\", per_tx = \"1_000 USDC\" }";
    let text = text.replacen(limits, &format!("{limits}, {allowance}"), 1);
    // The successor has the same rules, for the same callers.
    let (head, rules) = text.split_once("[key.hot]").unwrap_or_default();
    format!("{head}[key.cold]{rules}[key.hot]{rules}")
}

pub(crate) fn settings(name: &str, config: &ClientConfig) -> String {
    format!(
        "{name}endpoint = {:?}\nca = {:?}\ncertificate = {:?}\nprivate_key = {:?}\n",
        config.endpoint, config.ca, config.certificate, config.private_key
    )
}

/// As a person of security, and as the sweeper.
fn command(scene: &Scene, arguments: &[&str]) -> Result<Command, Failure> {
    let folder = scene.vault.folder.path();
    let person = scene.vault.person(&scene.server, "sam")?;
    let service = scene.vault.service(&scene.server, SWEEPER)?;
    let text = settings("", &person) + &settings("[data_plane]\n", &service);
    fs::write(folder.join("portctl.toml"), text)?;
    let mut command = Command::new(place::binary("portctl")?);
    command.args(arguments).args(["--output", "json"]).current_dir(folder);
    Ok(command)
}

fn portctl(scene: &Scene, arguments: &[&str]) -> Result<Output, Failure> {
    Ok(command(scene, arguments)?.output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn call(nonce: u64, token: Address, data: String) -> Result<Vec<u8>, Failure> {
    let mut payment = Payment::new(CHAIN, nonce, token, U256::ZERO);
    payment.data = Bytes::from(alloy_primitives::hex::decode(data)?);
    Ok(tx::preimage(&payment.unsigned(Kind::Eip1559)))
}

/// Freezes, plans, proposes, votes, begins.
async fn drained(scene: &Scene) -> Result<(), Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "we think the key is out").await?;
    until(&sam, "hot", FenceState::Fenced).await?;
    let written = portctl(
        scene,
        &["drain", "plan", "hot", "--to", "cold", "--caller", SWEEPER, "--fees", "0.5 ETH"],
    )?;
    assert!(written.status.success(), "{}", said(&written));
    let plan: serde_json::Value = serde_json::from_slice(&written.stdout)?;
    let text = plan.pointer("/plan").and_then(|text| text.as_str()).ok_or("no plan")?;
    fs::write(scene.vault.folder.path().join("drain.toml"), text)?;
    let propose = ["drain", "propose", "hot", "drain.toml", "--reason", "we think the key is out"];
    agreed(scene, &propose).await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    until(&sam, "hot", FenceState::Open).await
}

/// Proposes by its verb, lets those who are asked vote, and does it by the same verb.
async fn agreed(scene: &Scene, arguments: &[&str]) -> Result<(), Failure> {
    let proposed = portctl(scene, arguments)?;
    assert_eq!(proposed.status.code(), Some(4), "{}", said(&proposed));
    let proposal: serde_json::Value = serde_json::from_slice(&proposed.stdout)?;
    let id = proposal.pointer("/approval/id").and_then(|id| id.as_str()).ok_or("no id")?;
    for name in ["sue", "sid", "alan"] {
        let control = scene.vault.control(&scene.server, name).await?;
        if control.approval(id).await?.asks_you {
            scene.vault.pens.vote(&control, id, name, true).await?;
        }
    }
    // Until its delay is over, it waits.
    eventually("what was agreed to be done", async || {
        let done = portctl(scene, arguments)?;
        assert!(matches!(done.status.code(), Some(0 | 4)), "{}", said(&done));
        Ok(done.status.success())
    })
    .await
}

#[tokio::test]
async fn a_drain_moves_coin_and_three_tokens_takes_back_an_allowance_and_replaces_what_waits()
-> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let hot = scene.key.address;
    node.set_balance(hot, ether(100))?;
    for (token, units) in [(USDC, 5_000_000_u64), (DAI, 7), (EUR, 9)] {
        erc20::place(&node, token)?;
        erc20::give(&node, token, hot, U256::from(units))?;
    }
    let cold = scene.cold_key().await?;
    let payouts = scene.payouts().await?;
    // An allowance that stands, and a payment that waits in the node.
    let approve =
        format!("095ea7b3{:0>64x}{:0>64x}", U256::from_be_slice(&SUPPLIER[..]), 1_000_000);
    let granted = signed(scene.sign(&payouts, &call(0, USDC, approve)?).await);
    node.receipt(node.send(&tx::for_node(&granted.raw_transaction)?)?)?;
    assert_eq!(erc20::allowance(&node, USDC, [hot, SUPPLIER])?, U256::from(1_000_000));
    node.call("evm_setAutomine", json!([false]))?;
    let payment =
        Payment::new(CHAIN, 1, SUPPLIER, ether(1) / U256::from(2)).unsigned(Kind::Eip1559);
    let waiting = signed(scene.sign(&payouts, &tx::preimage(&payment)).await);
    node.send(&tx::for_node(&waiting.raw_transaction)?)?;

    drained(&scene).await?;
    // Whoever follows sees no failed request.
    let mut asked = payouts.key_labelled("hot").await?.ok_or("no key")?;
    let build = async |_| Ok::<_, SignError>(world::payment(0, U256::ONE));
    signed(payouts.sign_transaction_following(&mut asked, build).await);
    assert_eq!((asked.label.as_str(), asked.key.address), ("cold", cold.address));
    let rpc = format!("anvil=http://{}", node.address());
    let run = ["drain", "run", "hot", "--rpc", &rpc];
    let dry = portctl(&scene, &[&run[..], &["--dry-run"]].concat())?;
    assert!(dry.status.success() && said(&dry).contains("would send 5 USDC to"), "{}", said(&dry));
    assert_eq!(erc20::balance(&node, USDC, hot)?, U256::from(5_000_000), "nothing was sent");

    // The node mines again only once what waited was replaced.
    let mut running = command(&scene, &run)?;
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let waits = json!([waiting.transaction_hash.to_string()]);
    eventually("the payment that waits to be replaced", async || {
        Ok(node.call("eth_getTransactionByHash", waits.clone())?.is_null())
    })
    .await?;
    node.call("evm_setAutomine", json!([true]))?;
    node.call("evm_mine", json!([]))?;
    let ran = running.wait_with_output()?;
    assert!(ran.status.success(), "{}", said(&ran));
    for (token, units) in [(USDC, 5_000_000_u64), (DAI, 7), (EUR, 9)] {
        assert_eq!(erc20::balance(&node, token, hot)?, U256::ZERO, "{}", said(&ran));
        assert_eq!(erc20::balance(&node, token, cold.address)?, U256::from(units));
    }
    assert_eq!(erc20::allowance(&node, USDC, [hot, SUPPLIER])?, U256::ZERO);
    assert_eq!(node.balance(SUPPLIER)?, U256::ZERO, "the payment that waited was replaced");
    let left = node.balance(hot)?;
    assert!(left < ether(1) / U256::from(1_000), "{left}: {}", said(&ran));
    assert!(node.balance(cold.address)? > ether(99), "{}", said(&ran));

    // Again: nothing is left to do. More came in: it is moved too.
    let again = portctl(&scene, &run)?;
    assert!(again.status.success(), "{}", said(&again));
    let nothing: serde_json::Value = serde_json::from_slice(&again.stdout)?;
    assert_eq!(nothing.pointer("/transactions"), Some(&json!([])), "{}", said(&again));
    node.set_balance(hot, ether(1))?;
    let third = portctl(&scene, &[&run[..], &["--cancel-below", "anvil=12"]].concat())?;
    assert!(third.status.success(), "{}", said(&third));
    assert!(node.balance(hot)? < ether(1) / U256::from(1_000));
    let count = node.call("eth_getTransactionCount", json!([hot.to_string(), "latest"]))?;
    let count = count.as_str().and_then(|hex| u64::from_str_radix(hex.get(2..)?, 16).ok());
    assert!(count >= Some(12), "twelve nonces are used up, that of the coin with them: {count:?}");

    // And then it ends.
    agreed(&scene, &["revoke", "hot", "--reason", "it was out"]).await?;
    agreed(&scene, &["destroy", "hot", "--reason", "it was out"]).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let gone = async || Ok(sam.key("hot").await?.state() == KeyState::Destroyed);
    eventually("the key to be destroyed", gone).await?;
    scene.journal().await.map(drop)
}

#[tokio::test]
async fn a_drain_says_what_it_cannot_do_and_goes_on_where_it_stopped() -> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let hot = scene.key.address;
    node.set_balance(hot, ether(10))?;
    for token in [USDC, DAI, EUR] {
        erc20::place(&node, token)?;
    }
    erc20::give(&node, USDC, hot, U256::from(5))?;
    scene.cold_key().await?;
    let rpc = format!("anvil=http://{}", node.address());
    let run = ["drain", "run", "hot", "--rpc", &rpc, "--no-allowances"];
    let active = portctl(&scene, &run)?;
    assert!(said(&active).contains("the key is active, not draining"), "{}", said(&active));
    for (words, wrong) in [
        ("no such chain. It has anvil", ["drain", "run", "hot", "--rpc", "other=http://x:1"]),
        ("could not be asked", ["drain", "run", "hot", "--rpc", "anvil=http://127.0.0.1:1"]),
    ] {
        drained_once(&scene).await?;
        let ran = portctl(&scene, &wrong)?;
        assert!(!ran.status.success() && said(&ran).contains(words), "{}", said(&ran));
    }

    // The token fails on the chain: the coin goes to safety all the same, and it is said.
    erc20::place_stuck(&node, USDC)?;
    // Another is no contract any more, and does not even say what it holds.
    node.call("anvil_setCode", json!([EUR.to_string(), "0x"]))?;
    let ran = portctl(&scene, &run)?;
    assert!(!ran.status.success(), "{}", said(&ran));
    assert!(said(&ran).contains("cannot send"), "{}", said(&ran));
    assert!(said(&ran).contains("not everything was moved"), "{}", said(&ran));
    assert!(said(&ran).contains("EUR on anvil, of which the node says nothing"), "{}", said(&ran));
    assert!(node.balance(hot)? < ether(1) / U256::from(1_000), "{}", said(&ran));

    // It was mended, and there is coin to pay with.
    erc20::place(&node, USDC)?;
    erc20::place(&node, EUR)?;
    node.set_balance(hot, ether(1))?;
    let ran = portctl(&scene, &run)?;
    assert!(ran.status.success(), "{}", said(&ran));
    assert_eq!(erc20::balance(&node, USDC, hot)?, U256::ZERO);
    scene.journal().await.map(drop)
}

#[tokio::test]
async fn a_node_that_asks_for_a_fortune_or_is_behind_makes_no_money_vanish() -> Result<(), Failure>
{
    let (node, past) = (Anvil::start()?, Anvil::of_the_past()?);
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let hot = scene.key.address;
    node.set_balance(hot, ether(10))?;
    for token in [USDC, DAI, EUR] {
        erc20::place(&node, token)?;
        erc20::place(&past, token)?;
    }
    scene.cold_key().await?;
    drained(&scene).await?;
    // A tenth of a coin for each unit of gas: nothing is worth moving, if one believes it.
    node.call("anvil_setNextBlockBaseFeePerGas", json!(["0x16345785d8a0000"]))?;
    node.call("evm_mine", json!([]))?;
    let rpc = format!("anvil=http://{}", node.address());
    let ran = portctl(&scene, &["drain", "run", "hot", "--rpc", &rpc])?;
    assert!(!ran.status.success(), "{}", said(&ran));
    assert!(said(&ran).contains("10 ETH on anvil, which costs"), "{}", said(&ran));
    assert_eq!(node.balance(hot)?, ether(10));

    // Nothing came in, as far as this one has heard.
    let rpc = format!("anvil=http://{}", past.address());
    let rotate = ["key", "rotate", "hot", "--to", "cold", "--reason", "it was out", "--end-old"];
    let ran = portctl(&scene, &[&rotate[..], &["--rpc", &rpc]].concat())?;
    assert!(!ran.status.success(), "{}", said(&ran));
    assert!(said(&ran).contains("since the last block of its node"), "{}", said(&ran));
    let sam = scene.vault.control(&scene.server, "sam").await?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    assert_eq!(sam.list_approvals().await?.approvals, [], "nobody is asked to end it");
    Ok(())
}

async fn drained_once(scene: &Scene) -> Result<(), Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let is_drained = sam.key("hot").await?.state() == KeyState::Draining;
    if is_drained { Ok(()) } else { drained(scene).await }
}
