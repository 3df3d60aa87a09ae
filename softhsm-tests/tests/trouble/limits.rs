//! Amounts at their edges: to the wei, and to the last of 256 bits.

use alloy_primitives::U256;
use portcullis_client::Code;
use portcullis_softhsm_tests::tx::{self, Kind, Payment};
use portcullis_softhsm_tests::world::{
    BookText, CHAIN, Failure, PAYMENT_FEE, SUPPLIER, USDC, ether, payment,
};

use crate::support::{Scene, eventually, refused, said};

/// The amount that makes [`payment`] cost exactly so much, fee included.
fn costing(total: U256) -> U256 {
    total - U256::from(PAYMENT_FEE)
}

fn wei(amount: u64) -> U256 {
    U256::from(amount)
}

fn usdc(nonce: u64, units: U256) -> Vec<u8> {
    let transfer = Payment::new(CHAIN, nonce, USDC, U256::ZERO).erc20_transfer(SUPPLIER, units);
    tx::preimage(&transfer.unsigned(Kind::Eip1559))
}

fn book(per_tx: &str, window: &str) -> BookText {
    let window = format!("\"{window}\"");
    BookText { per_tx: per_tx.into(), window, ..BookText::default() }
}

#[tokio::test]
async fn a_transaction_limit_is_hit_exactly_and_one_wei_more_is_refused() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let over = payment(0, costing(ether(10)) + wei(1));
    let refusal = refused(scene.sign(&payouts, &over).await);
    assert_eq!(said(&refusal), (Code::PermissionDenied, "OVER_TRANSACTION_LIMIT"));
    assert_eq!(refusal.metadata()["rule"], "native.per_tx");
    assert_eq!(refusal.metadata()["limit"], ether(10).to_string());
    assert_eq!(refusal.metadata()["saw"], (ether(10) + wei(1)).to_string());
    assert_eq!(scene.outcome(&payouts, &payment(0, costing(ether(10)))).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_window_is_filled_to_the_wei_fees_included_and_then_nothing_more_fits()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    for nonce in [0, 1] {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, costing(ether(10)))).await, "signed");
    }
    let over = payment(2, costing(ether(5)) + wei(1));
    let refusal = refused(scene.sign(&payouts, &over).await);
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "OVER_WINDOW_LIMIT"));
    assert_eq!(refusal.metadata()["rule"], "native.window 1h");
    assert_eq!(refusal.metadata()["saw"], (ether(25) + wei(1)).to_string());
    assert_eq!(scene.outcome(&payouts, &payment(2, costing(ether(5)))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(3, wei(0))).await, "OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_fee_alone_can_be_over_its_limit() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let mut dear = Payment::new(CHAIN, 0, SUPPLIER, wei(1));
    (dear.gas_limit, dear.max_fee_per_gas) = (1_000_000, 1_000_000_000_001);
    let bytes = tx::preimage(&dear.unsigned(Kind::Eip1559));
    assert_eq!(scene.outcome(&payouts, &bytes).await, "FEE_OVER_TRANSACTION_LIMIT");
    dear.max_fee_per_gas -= 1;
    let bytes = tx::preimage(&dear.unsigned(Kind::Eip1559));
    assert_eq!(scene.outcome(&payouts, &bytes).await, "signed");
    dear.max_priority_fee_per_gas = 5_000_000_001;
    let bytes = tx::preimage(&dear.unsigned(Kind::Eip1559));
    assert_eq!(scene.outcome(&payouts, &bytes).await, "PRIORITY_FEE_TOO_HIGH");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn an_amount_of_256_ones_overflows_with_its_fee_and_never_wraps() -> Result<(), Failure> {
    let unlimited = book("unlimited", "25 ETH / 1h");
    let scene = Scene::new(unlimited).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, U256::MAX)).await, "AMOUNT_OVERFLOW");
    let most = U256::MAX - U256::from(PAYMENT_FEE);
    assert_eq!(scene.outcome(&payouts, &payment(0, most)).await, "OVER_WINDOW_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(0, most + wei(1))).await, "AMOUNT_OVERFLOW");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_token_amount_of_256_ones_is_over_every_limit() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let over = "TOKEN_OVER_TRANSACTION_LIMIT";
    assert_eq!(scene.outcome(&payouts, &usdc(0, U256::MAX)).await, over);
    let thousand = U256::from(1_000_000_000);
    assert_eq!(scene.outcome(&payouts, &usdc(0, thousand + wei(1))).await, over);
    assert_eq!(scene.outcome(&payouts, &usdc(0, thousand)).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_window_of_256_ones_is_filled_exactly_and_a_sum_beyond_it_does_not_wrap()
-> Result<(), Failure> {
    // 2^256 - 1 in units of USDC, which has 6 decimals.
    let most = U256::MAX.to_string();
    let (whole, part) = most.split_at(most.len() - 6);
    let text = BookText::default().to_string().replace(
        "per_tx = \"1_000 USDC\", window = \"5_000 USDC / 1h\"",
        &format!("per_tx = \"unlimited\", window = \"{whole}.{part} USDC / 1h\""),
    );
    let scene = Scene::new(text).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &usdc(0, U256::MAX - wei(1))).await, "signed");
    let over = "TOKEN_OVER_WINDOW_LIMIT";
    assert_eq!(scene.outcome(&payouts, &usdc(1, wei(2))).await, over);
    assert_eq!(scene.outcome(&payouts, &usdc(1, U256::MAX)).await, over);
    assert_eq!(scene.outcome(&payouts, &usdc(1, wei(1))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &usdc(2, wei(1))).await, over);
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn of_two_transactions_with_one_nonce_both_kinds_of_money_are_held() -> Result<(), Failure> {
    let scene = Scene::new(book("10 ETH", "10 ETH / 1h")).await?;
    let payouts = scene.payouts().await?;
    let tokens = U256::from(1_000_000_000);
    for nonce in 1..=4 {
        assert_eq!(scene.outcome(&payouts, &usdc(nonce, tokens)).await, "signed");
    }
    // A pays the last of the tokens, B five ether; either may be mined.
    assert_eq!(scene.outcome(&payouts, &usdc(0, tokens)).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(5))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &usdc(5, wei(1))).await, "TOKEN_OVER_WINDOW_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(5, ether(5))).await, "OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_bump_is_charged_at_the_larger_and_one_that_no_longer_fits_is_refused()
-> Result<(), Failure> {
    let scene = Scene::new(book("10 ETH", "10 ETH / 1h")).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, costing(ether(4)))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(1, costing(ether(5)))).await, "signed");
    let over = payment(0, costing(ether(5)) + wei(1));
    assert_eq!(scene.outcome(&payouts, &over).await, "OVER_WINDOW_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(0, costing(ether(5)))).await, "signed");
    // A smaller alternative raises nothing, and lowers nothing.
    assert_eq!(scene.outcome(&payouts, &payment(0, costing(ether(1)))).await, "signed");
    assert_eq!(scene.outcome(&payouts, &payment(2, wei(0))).await, "OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_bump_of_a_nonce_whose_charge_has_left_the_window_must_fit_whole() -> Result<(), Failure>
{
    let scene = Scene::new(book("10 ETH", "10 ETH / 10s")).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, costing(ether(9)))).await, "signed");
    let others = payment(1, costing(ether(10)));
    eventually("the first charge to leave the window", async || {
        Ok(scene.outcome(&payouts, &others).await == "signed")
    })
    .await?;
    // Only one more ether than it once held; but all ten would be in this window.
    let bump = payment(0, costing(ether(10)));
    assert_eq!(scene.outcome(&payouts, &bump).await, "OVER_WINDOW_LIMIT");
    scene.journal().await?;
    Ok(())
}
