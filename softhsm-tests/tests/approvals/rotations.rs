//! `portctl key rotate`: another key in the place of one, while callers go on asking for the old
//! one; interrupted and gone on with; and what it says when it cannot.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{ApprovalState, CreateKeyRequest, KeyState};
use portcullis_client::{Answer, Client, ListedKey, SignError};
use portcullis_softhsm_tests::anvil::Anvil;
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, SUPPLIER, USDC, Vault, ether, governed_book, in_a_year, payment,
};
use portcullis_softhsm_tests::{erc20, place};
use serde_json::{Value, json};

use crate::support::{Scene, eventually, signed};
use crate::sweeps::{DAI, EUR, SWEEPER, asset, settings};

/// The old key, under a limit, and nothing of the new one.
fn book() -> String {
    let text = governed_book();
    let limit = "# All hot money.\n[limit.all]\nkeys = [\"hot\"]\nasset = \"ETH\"\n\
                 window = \"24 ETH / 1h\"\n";
    let art =
        format!("[asset.ART]\nkind = \"erc721\"\nchain = \"anvil\"\naddress = \"{ART:#x}\"\n");
    let tables = [&text.tables, &asset("DAI", DAI), &asset("EUR", EUR), &art, limit].concat();
    BookText { tables, ..text }.to_string()
}

/// A token of which each is told apart: no plan moves it.
const ART: Address = Address::repeat_byte(0xa7);

fn funded(node: &Anvil, hot: Address) -> Result<(), Failure> {
    node.set_balance(hot, ether(100))?;
    for (token, units) in [(USDC, 5_000_000_u64), (DAI, 7), (EUR, 9)] {
        erc20::place(node, token)?;
        erc20::give(node, token, hot, U256::from(units))?;
    }
    Ok(erc20::place(node, ART)?)
}

/// As this person, and as the sweeper.
fn portctl(scene: &Scene, person: &str, arguments: &[&str]) -> Result<Command, Failure> {
    let folder = scene.vault.folder.path();
    let control = scene.vault.person(&scene.server, person)?;
    let service = scene.vault.service(&scene.server, SWEEPER)?;
    let text = settings("", &control) + &settings("[data_plane]\n", &service);
    let config = folder.join(format!("portctl-{person}.toml"));
    fs::write(&config, text)?;
    let mut command = Command::new(place::binary("portctl")?);
    command.args(arguments).args(["--output", "json", "--config"]).arg(config);
    command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// From a stopped key, of which somebody must say what becomes of what it sent.
fn rotate_stopped(scene: &Scene, rpc: &str, more: &[&str]) -> Result<Command, Failure> {
    rotate(scene, rpc, &[more, &["--waiting", "let-through"]].concat())
}

fn rotate(scene: &Scene, rpc: &str, more: &[&str]) -> Result<Command, Failure> {
    let arguments = ["key", "rotate", "hot", "--to", "cold", "--review-by", "2027-03-31"];
    let plan = ["--caller", SWEEPER, "--fees", "0.5 ETH", "--rpc", rpc, "--reason", "a year old"];
    portctl(scene, "olga", &[&arguments[..], &plan[..], more].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a run came to, which ended with this code.
fn came_to(output: &Output, code: i32) -> Result<Value, Failure> {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Names and whether they were done before, of each step.
fn steps(told: &Value) -> Vec<(String, bool)> {
    let steps = told["steps"].as_array().cloned().unwrap_or_default();
    let step = |step: &Value| {
        assert!(step["ms"].is_u64(), "{step}");
        (step["name"].as_str().unwrap().to_owned(), step["skipped"].as_bool().unwrap())
    };
    steps.iter().map(step).collect()
}

fn named(steps: &[(&str, bool)]) -> Vec<(String, bool)> {
    steps.iter().map(|(name, skipped)| ((*name).to_owned(), *skipped)).collect()
}

/// Ids of what people are asked, by what it is.
fn asked(told: &Value) -> Vec<(String, String)> {
    let waiting = told["waiting"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    waiting.iter().map(|one| (text(one, "summary"), text(one, "id"))).collect()
}

/// Whoever is asked votes, with a key of their own.
async fn vote(scene: &Scene, id: &str, approve: bool) -> Result<(), Failure> {
    for name in ["sue", "sid", "alan", "amy"] {
        let control = scene.vault.control(&scene.server, name).await?;
        // It may be done meanwhile.
        let asks = control.approval(id).await.is_ok_and(|approval| approval.asks_you);
        if asks {
            scene.vault.pens.vote(&control, id, name, approve).await?;
            if !approve {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_book(step: &str) -> bool {
    ["rules", "tidy"].contains(&step)
}

/// People vote on whatever asks them, and adopt books, until a program has ended.
async fn vote_until_it_ends(scene: &Scene, mut child: Child) -> Result<Output, Failure> {
    let sam = scene.vault.control(&scene.server, "sam").await?;
    while child.try_wait()?.is_none() {
        let listed = sam.list_approvals().await?.approvals;
        let waits = listed.iter().filter(|one| one.state() == ApprovalState::Waiting);
        for one in waits {
            vote(scene, &one.id, true).await?;
        }
        // Whoever voted last may carry a book out before the program does.
        let books = listed.iter().filter(|one| one.summary.starts_with("adopt the book"));
        for book in books.filter(|one| one.state() == ApprovalState::Ready) {
            drop(sam.execute(&book.id).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(child.wait_with_output()?)
}

/// Four who ask for the old key all the time; two of them never remember where they were led.
struct Followers {
    over: Arc<AtomicBool>,
    signed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Result<ListedKey, String>>>,
}

impl Followers {
    async fn begin(scene: &Scene) -> Result<Self, Failure> {
        let (over, signed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let nonces = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for number in 0..4 {
            let client = scene.payouts().await?;
            let hot = client.key_labelled("hot").await?.ok_or("no key")?;
            let (over, signed, nonces) = (over.clone(), signed.clone(), nonces.clone());
            tasks.push(tokio::spawn(async move {
                let mut key = hot.clone();
                while !over.load(Ordering::SeqCst) {
                    if number % 2 == 0 {
                        key = hot.clone();
                    }
                    follow(&client, &mut key, &nonces).await?;
                    signed.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(key)
            }));
        }
        Ok(Self { over, signed, tasks })
    }

    /// Until so many more are signed, or one of them failed.
    async fn go_on(&self, more: u64) -> Result<(), Failure> {
        let least = self.signed.load(Ordering::SeqCst) + more;
        eventually("callers to go on", async || {
            let failed = self.tasks.iter().any(tokio::task::JoinHandle::is_finished);
            Ok(failed || self.signed.load(Ordering::SeqCst) >= least)
        })
        .await
    }

    async fn end(self) -> Result<Vec<ListedKey>, Failure> {
        self.over.store(true, Ordering::SeqCst);
        let mut keys = Vec::new();
        for task in self.tasks {
            keys.push(task.await??);
        }
        Ok(keys)
    }
}

async fn follow(client: &Client, key: &mut ListedKey, nonces: &AtomicU64) -> Result<(), String> {
    let from = key.label.clone();
    let build = async |_| {
        let nonce = nonces.fetch_add(1, Ordering::SeqCst);
        Ok::<_, SignError>(payment(nonce, U256::from(1_000)))
    };
    match client.sign_transaction_following(key, build).await {
        Ok(Answer::Signed(_)) => Ok(()),
        other => Err(format!("asked for {from}: {other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coin_and_three_tokens_rotate_while_no_caller_that_follows_sees_a_failed_request()
-> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let hot = scene.key.address;
    funded(&node, hot)?;
    let followers = Followers::begin(&scene).await?;
    followers.go_on(50).await?;

    let rpc = format!("anvil=http://{}", node.address());
    let running = rotate(&scene, &rpc, &["--wait", "--end-old"])?.spawn()?;
    let ran = vote_until_it_ends(&scene, running).await?;
    let told = came_to(&ran, 0)?;
    followers.go_on(50).await?;
    let keys = followers.end().await?;
    let labels: Vec<&str> = keys.iter().map(|key| key.label.as_str()).collect();
    assert_eq!(labels, ["cold"; 4], "{}", said(&ran));
    println!(
        "measured: rotation with drain, coin and three tokens on anvil: {:.1} s (goal 300)",
        told["total_ms"].as_f64().unwrap() / 1_000.0
    );

    // The books may have been adopted by whoever voted last.
    let all = ["create", "rules", "drain", "move", "revoke", "tidy"];
    let own = steps(&told).into_iter();
    let own: Vec<_> =
        own.map(|(name, skipped)| (name.clone(), skipped && !is_book(&name))).collect();
    assert_eq!(told["status"].as_str(), Some("done"));
    assert_eq!(own, named(&all.map(|name| (name, false))));
    let words = said(&ran);
    assert!(words.contains("they type: portctl approvals approve p"), "{words}");
    assert!(words.contains("waits for 2 of approver"), "{words}");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let cold = sam.key("cold").await?;
    let cold_address = Address::try_from(&cold.address[..])?;
    for (token, units) in [(USDC, 5_000_000_u64), (DAI, 7), (EUR, 9)] {
        assert_eq!(erc20::balance(&node, token, hot)?, U256::ZERO, "{words}");
        assert_eq!(erc20::balance(&node, token, cold_address)?, U256::from(units));
    }
    assert!(node.balance(hot)? < ether(1) / U256::from(1_000), "{words}");
    assert!(node.balance(cold_address)? > ether(99), "{words}");
    let old = sam.key("hot").await?;
    assert_eq!((old.state(), old.successor.as_str()), (KeyState::Revoked, "cold"));
    assert_eq!((&cold.tags, &cold.owner), (&old.tags, &old.owner), "like the old one");
    let force = sam.book().await?.book;
    assert!(force.contains("# All hot money.\n[limit.all]\nkeys = [\"cold\"]\n"), "{force}");
    assert!(!force.contains("[key.hot]"), "{force}");
    // Whoever starts anew, and knows the old name alone, is led as well.
    let led = scene.payouts().await?.key_labelled("hot").await?.ok_or("led nowhere")?;
    assert_eq!((led.label.as_str(), led.replaces), ("cold", vec!["hot".to_owned()]));
    scene.journal().await.map(drop)
}

#[tokio::test]
async fn a_rotation_from_a_stopped_key_goes_on_where_it_was_and_makes_nothing_twice()
-> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let hot = scene.key.address;
    funded(&node, hot)?;
    let half = a_payment_waits(&scene, &node).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "somebody left").await?;
    let rpc = format!("anvil=http://{}", node.address());

    let first = came_to(&rotate_stopped(&scene, &rpc, &[])?.output()?, 4)?;
    assert_eq!(steps(&first), named(&[("create", false)]));
    let waiting = asked(&first);
    let [(adopt, book), (drain, plan)] = &waiting[..] else { panic!("{waiting:?}") };
    assert!(
        adopt.starts_with("adopt the book") && drain.starts_with("drain key hot"),
        "{waiting:?}"
    );
    let again = came_to(&rotate_stopped(&scene, &rpc, &[])?.output()?, 4)?;
    assert_eq!((steps(&again), asked(&again)), (named(&[("create", true)]), waiting.clone()));

    // Whose vote completes the drain does not begin it before the book.
    let voted = completed(&scene, plan, &["sue", "sid"], "alan").await?;
    assert!(said(&voted).contains("once the book that waits is in force"), "{}", said(&voted));
    let early = came_to(&rotate_stopped(&scene, &rpc, &[])?.output()?, 4)?;
    assert_eq!(asked(&early), waiting[..1], "the drain is agreed to, and waits for the book");
    assert_eq!(sam.key("hot").await?.state(), KeyState::Frozen);

    vote(&scene, book, true).await?;
    let kept = until_it_is_moved(&scene, &node, &rpc).await?;
    assert_eq!(node.balance(SUPPLIER)?, half, "what waited was let through");
    let done = [("create", true), ("rules", false), ("drain", false), ("move", false)];
    assert_eq!(steps(&kept), named(&done));
    assert_eq!(erc20::balance(&node, USDC, hot)?, U256::ZERO);
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);

    // What comes in late is moved by the same command, before the old key is ended, and by the plan
    // that people agreed to, whatever became of its file.
    fs::write(scene.vault.folder.path().join("rotate-hot-to-cold/drain.toml"), "to = 1\n")?;
    node.set_balance(hot, ether(1))?;
    erc20::give(&node, EUR, hot, U256::from(3))?;
    is_not_ended_with_what_no_plan_names(&scene, &node, &rpc)?;
    assert_eq!(erc20::balance(&node, EUR, hot)?, U256::ZERO);
    erc20::give(&node, ART, hot, U256::ZERO)?;
    node.set_balance(hot, ether(1))?;
    let late = came_to(&rotate(&scene, &rpc, &["--end-old"])?.output()?, 4)?;
    let done = [("create", true), ("rules", true), ("drain", true), ("move", false)];
    assert_eq!(steps(&late), named(&done));
    let waiting = asked(&late);
    let [(revoke, end), (adopt, after)] = &waiting[..] else { panic!("{waiting:?}") };
    assert!(
        revoke.starts_with("revoke key hot") && adopt.starts_with("adopt the book"),
        "{waiting:?}"
    );
    // Whose vote completes the revocation leaves it to the last look.
    let voted = completed(&scene, end, &["sue"], "sid").await?;
    assert!(said(&voted).contains("NOT ended yet"), "{}", said(&voted));
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    is_not_ended_with_what_no_plan_names(&scene, &node, &rpc)?;
    assert_eq!(sam.key("hot").await?.state(), KeyState::Draining);
    node.set_balance(hot, ether(1))?;
    let leave = ["--end-old", "--keep-rules", "--leave-rest", "ART@anvil"];
    let last = came_to(&rotate(&scene, &rpc, &leave)?.output()?, 0)?;
    assert!(node.balance(hot)? < ether(1) / U256::from(1_000));
    let done = [("create", true), ("rules", true), ("drain", true), ("move", false)];
    assert_eq!(steps(&last), [named(&done), named(&[("revoke", false)])].concat());
    assert!(sam.book().await?.book.contains("[key.hot]"), "they were kept");
    // What the old key spent is in a limit, so that it takes people to take it out.
    let asks = came_to(&rotate(&scene, &rpc, &[])?.output()?, 4)?;
    assert_eq!(asked(&asks), [(adopt.clone(), after.clone())]);
    vote(&scene, after, true).await?;
    let over = until_it_is(&scene, &rpc, &[], "done").await?;
    assert_eq!(steps(&over), named(&[("create", true), ("tidy", false)]));
    let over = came_to(&rotate(&scene, &rpc, &[])?.output()?, 0)?;
    assert_eq!(steps(&over), named(&[("create", true), ("tidy", true)]));
    assert!(!sam.book().await?.book.contains("\"hot\""));
    assert_eq!(sam.list_keys().await?.len(), 2);
    let journal = scene.journal().await?;
    assert_eq!((journal.count("proposed"), journal.count("executed")), (4, 4));
    Ok(())
}

/// It sent half a coin, and the node does not mine.
async fn a_payment_waits(scene: &Scene, node: &Anvil) -> Result<U256, Failure> {
    node.call("evm_setAutomine", json!([false]))?;
    let payouts = scene.payouts().await?;
    let half = ether(1) / U256::from(2);
    let payment = Payment::new(CHAIN, 0, SUPPLIER, half).unsigned(Kind::Eip1559);
    let paid = signed(scene.sign(&payouts, &tx::preimage(&payment)).await);
    node.send(&tx::for_node(&paid.raw_transaction)?)?;
    Ok(half)
}

/// What it holds besides would be lost.
fn is_not_ended_with_what_no_plan_names(
    scene: &Scene,
    node: &Anvil,
    rpc: &str,
) -> Result<(), Failure> {
    erc20::give(node, ART, scene.key.address, U256::from(1))?;
    let held = rotate(scene, rpc, &["--end-old"])?.output()?;
    assert!(!held.status.success() && said(&held).contains("1 ART on anvil"), "{}", said(&held));
    assert!(said(&held).contains("--leave-rest ART@anvil"), "{}", said(&held));
    Ok(())
}

/// Enough vote, the last of them with the tool.
async fn completed(scene: &Scene, id: &str, first: &[&str], last: &str) -> Result<Output, Failure> {
    for name in first {
        let control = scene.vault.control(&scene.server, name).await?;
        scene.vault.pens.vote(&control, id, name, true).await?;
    }
    let pen = scene.vault.pens.key(last)?.display().to_string();
    let approve = ["approvals", "approve", id, "--yes", "--key", &pen];
    let voted = portctl(scene, last, &approve)?.output()?;
    assert!(voted.status.success(), "{}", said(&voted));
    Ok(voted)
}

/// Runs it again while only a delay is left, and lets the node mine once that is waited for.
async fn until_it_is_moved(scene: &Scene, node: &Anvil, rpc: &str) -> Result<Value, Failure> {
    let mut told = Value::Null;
    eventually("everything to be moved", async || {
        let mut child = rotate_stopped(scene, rpc, &[])?.spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut said = String::new();
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            if line.contains("letting them through") {
                assert_eq!(node.balance(SUPPLIER)?, U256::ZERO, "{said}");
                node.call("evm_setAutomine", json!([true]))?;
                node.call("evm_mine", json!([]))?;
            }
            said.push_str(&format!("{line}\n"));
        }
        let ran = child.wait_with_output()?;
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{said}");
        told = serde_json::from_slice(&ran.stdout)?;
        let moved = told.get("status").is_some_and(|told| told == "moved");
        assert!(!moved || said.contains("letting them through"), "{said}");
        Ok(moved)
    })
    .await?;
    Ok(told)
}

/// Runs it again while only a delay is left, until it says this.
async fn until_it_is(
    scene: &Scene,
    rpc: &str,
    more: &[&str],
    status: &str,
) -> Result<Value, Failure> {
    let mut told = Value::Null;
    eventually(status, async || {
        let ran = rotate(scene, rpc, more)?.output()?;
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{}", said(&ran));
        told = serde_json::from_slice(&ran.stdout)?;
        Ok(told.get("status").is_some_and(|told| told == status))
    })
    .await?;
    Ok(told)
}

/// Makes a key as nobody rotates onto.
async fn misfit(scene: &Scene, label: &str, purpose: &str, chain: u64) -> Result<(), Failure> {
    let request = CreateKeyRequest {
        label: label.into(),
        tags: Vec::new(),
        purpose: purpose.into(),
        owner: String::new(),
        environment: "development".into(),
        chains: vec![chain],
        review_by_ms: in_a_year(),
    };
    scene.vault.control(&scene.server, "olga").await?.create_key(request).await?;
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_cannot_be_says_why_and_asks_nobody() -> Result<(), Failure> {
    let node = Anvil::start()?;
    let scene = Scene::of(Vault::governed(Through::Real, &book())?).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    misfit(&scene, "canary", "canary", CHAIN).await?;
    misfit(&scene, "narrow", "payments", 1).await?;
    misfit(&scene, "stopped", "payments", CHAIN).await?;
    misfit(&scene, "bare", "payments", CHAIN).await?;
    sam.freeze(Scope::Key("stopped".into()), "not this one").await?;
    let rpc = format!("anvil=http://{}", node.address());
    let (day, nodes) = (["--review-by", "2027-03-31"], ["--rpc", &rpc]);
    let plan = ["--caller", SWEEPER, "--fees", "0.5 ETH"];
    let whole = [&day[..], &plan[..], &nodes[..]].concat();
    let replaced = [&whole[..], &["--waiting", "replace"]].concat();
    let refused: [(&str, &str, &[&str], &str); 12] = [
        ("nothing", "cold", &whole, "no key is called"),
        ("hot", "hot", &whole, "its own place"),
        ("hot", "cold", &[&plan[..], &nodes[..]].concat(), "--review-by 2027-03-31"),
        ("hot", "canary", &whole, "canary is for"),
        ("hot", "narrow", &whole, "not made for chain 31337"),
        ("hot", "stopped", &whole, "stopped is frozen"),
        ("hot", "cold", &[&day[..], &nodes[..]].concat(), "--caller ID"),
        ("hot", "cold", &[&plan[..2], &nodes[..]].concat(), "--fees"),
        ("hot", "cold", &plan, "no node for anvil"),
        ("bare", "cold", &whole, "no rules for bare"),
        ("stopped", "bare", &whole, "--waiting replace"),
        ("stopped", "bare", &replaced, "no rules for stopped"),
    ];
    for (old, new, more, words) in refused {
        let wanted = ["key", "rotate", old, "--to", new, "--reason", "a year old"];
        let ran = portctl(&scene, "olga", &[&wanted[..], more].concat())?.output()?;
        assert_eq!(ran.status.code(), Some(1), "{words}: {}", said(&ran));
        assert!(said(&ran).contains(words), "{words}: {}", said(&ran));
    }
    assert_eq!(sam.list_approvals().await?.approvals, [], "nobody is asked");
    // A key of another environment is not even made.
    let made = ["key", "create", "staged", "--purpose", "payments", "--chain", "31337"];
    let made = [&made[..], &day[..], &["--environment", "staging"]].concat();
    let ran = portctl(&scene, "olga", &made)?.output()?;
    assert!(said(&ran).contains("WRONG_ENVIRONMENT"), "{}", said(&ran));

    // One that ended without a successor holds for good what it holds.
    let revoke = ["revoke", "stopped", "--reason", "not this one"];
    let proposed = came_to(&portctl(&scene, "olga", &revoke)?.output()?, 4)?;
    vote(&scene, proposed["approval"]["id"].as_str().unwrap(), true).await?;
    came_to(&portctl(&scene, "olga", &revoke)?.output()?, 0)?;
    let wanted = ["key", "rotate", "stopped", "--to", "cold", "--reason", "too late"];
    let ran = portctl(&scene, "olga", &wanted)?.output()?;
    assert!(said(&ran).contains("stopped is revoked"), "{}", said(&ran));

    // Somebody says no: whoever waits is told, and what to do.
    let running = rotate(&scene, &rpc, &["--wait"])?.spawn()?;
    let waits = async || Ok(sam.list_approvals().await?.approvals.len() == 2);
    eventually("people to be asked", waits).await?;
    let listed = sam.list_approvals().await?.approvals;
    let adoption = listed.iter().find(|one| one.summary.starts_with("adopt the book"));
    vote(&scene, &adoption.ok_or("no book")?.id, false).await?;
    let ran = tokio::task::spawn_blocking(move || running.wait_with_output()).await??;
    assert_eq!(ran.status.code(), Some(3), "{}", said(&ran));
    assert!(said(&ran).contains("was rejected by alan"), "{}", said(&ran));
    assert_eq!(sam.key("hot").await?.state(), KeyState::Active);
    scene.journal().await.map(drop)
}
