//! A thousand requests, and room for a few.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::U256;
use portcullis_client::{Answer, Client};
use portcullis_softhsm_tests::ledger::{Account, Asset, Ledger, Limit};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{BookText, CHAIN, Failure, PAYMENT_FEE, ether, payment};
use tokio::sync::Semaphore;

use crate::support::{Scene, holding, outcome};

/// All of them.
const REQUESTS: u64 = 1_000;

/// As many as the window has room for, to the wei.
const FIT: usize = 7;

/// On their way at once.
const IN_FLIGHT: usize = 48;

fn book() -> BookText {
    let window = format!("\"{FIT} ETH / 1h\"");
    BookText { per_tx: "1 ETH".into(), window, ..BookText::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_at_once_get_exactly_as_many_signatures_as_the_budget_has_room_for()
-> Result<(), Failure> {
    let scene = Arc::new(Scene::through(Through::Faults, book()).await?);
    // Slow enough that many are in flight together, charged and not yet recorded.
    scene.vault.token.faults()?.set(&["C_Sign delay 30"])?;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..3 {
        clients.push(scene.payouts().await?);
    }
    let (zero, places) = (Instant::now(), Arc::new(Semaphore::new(IN_FLIGHT)));
    let mut asked = Vec::new();
    for nonce in 0..REQUESTS {
        let client = clients[usize::try_from(nonce)? % clients.len()].clone();
        let (scene, places) = (scene.clone(), places.clone());
        asked.push(tokio::spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let preimage = payment(nonce, ether(1) - U256::from(PAYMENT_FEE));
            let sent = Instant::now();
            match scene.sign(&client, &preimage).await {
                Ok(Answer::Signed(signed)) => Ok(holding(&signed, sent, zero)),
                other => Err(outcome(other)),
            }
        }));
    }
    let (mut holdings, mut refusals) = (Vec::new(), BTreeMap::<String, u64>::new());
    for one in asked {
        match one.await? {
            Ok(holding) => holdings.push(holding),
            Err(reason) => *refusals.entry(reason).or_default() += 1,
        }
    }

    assert_eq!(holdings.len(), FIT, "{refusals:?}");
    let over = BTreeMap::from([("OVER_WINDOW_LIMIT".to_owned(), REQUESTS - u64::try_from(FIT)?)]);
    assert_eq!(refusals, over);
    let account = Account { key: scene.key.address, chain: CHAIN, asset: Asset::NativeAndFee };
    let most = ether(u64::try_from(FIT)?);
    let ledger = Ledger::read(&holdings)?;
    let limits = [Limit { account, most, window_ms: 3_600_000 }];
    assert!(ledger.overspends(&limits).is_empty());
    assert_eq!(ledger.peak(account, u64::MAX).0, alloy_primitives::U512::from(most));
    assert_eq!(scene.journal().await?.count("signed"), FIT);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_asking_for_one_digest_at_once_are_charged_for_one() -> Result<(), Failure> {
    let one =
        BookText { per_tx: "1 ETH".into(), window: "\"1 ETH / 1h\"".into(), ..BookText::default() };
    let scene = Arc::new(Scene::through(Through::Faults, one).await?);
    scene.vault.token.faults()?.set(&["C_Sign delay 20"])?;
    let client = scene.payouts().await?;
    let preimage = payment(0, ether(1) - U256::from(PAYMENT_FEE));
    let asked: Vec<_> = (0..30)
        .map(|_| {
            let (scene, client, preimage) = (scene.clone(), client.clone(), preimage.clone());
            tokio::spawn(async move { scene.outcome(&client, &preimage).await })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await?, "signed");
    }
    assert_eq!(scene.outcome(&client, &payment(1, U256::ZERO)).await, "OVER_WINDOW_LIMIT");
    assert_eq!(scene.journal().await?.count("signed"), 30);
    Ok(())
}
