//! `report settled | prices`: what watchers and pricers tell the signer. Control plane; a
//! certificate of a person with that role.

use alloy_primitives::Address;
use clap::{Args, Subcommand};
use portcullis_client::wire::{
    ReferencePrice, ReportPricesRequest, ReportSettlementRequest, StandingAllowance,
};
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields};

#[derive(Debug, Subcommand)]
pub(crate) enum ReportVerb {
    /// Tell what is mined of a key on a chain. Role: watcher.
    Settled(SettledArgs),
    /// Tell what things cost, for limits in USD. Role: pricer.
    Prices(PricesArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SettledArgs {
    /// The key, by label or id.
    #[arg(long)]
    key: String,
    /// The chain's id.
    #[arg(long)]
    chain_id: u64,
    /// The account's transaction count: all nonces below it are mined.
    #[arg(long)]
    nonce: u64,
    /// An allowance as it stands on the chain, in base units. May be given several times.
    #[arg(long, value_name = "TOKEN:SPENDER:AMOUNT", value_parser = allowance)]
    allowance: Vec<Standing>,
    /// The timestamp of the block that was read, in seconds since 1970. Without it, no permit is
    /// taken to be over.
    #[arg(long, value_name = "SECONDS")]
    read_at: Option<u64>,
}

#[derive(Clone, Debug)]
struct Standing {
    token: Address,
    spender: Address,
    amount: String,
}

#[derive(Args, Debug)]
pub(crate) struct PricesArgs {
    /// Prices in USD for one whole unit: ETH=3000.50
    #[arg(required = true, value_name = "ASSET=USD", value_parser = price)]
    prices: Vec<(String, String)>,
}

pub(crate) async fn run(
    verb: ReportVerb,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let control = connection.control().await?;
    let sequence = match verb {
        ReportVerb::Settled(SettledArgs { key, chain_id, nonce, allowance, read_at }) => {
            let allowances = allowance.into_iter().map(|one| StandingAllowance {
                token: one.token.to_vec(),
                spender: one.spender.to_vec(),
                amount: one.amount,
            });
            let allowances = allowances.collect();
            let read_at_ms = read_at.map(|seconds| seconds.saturating_mul(1_000));
            let report = ReportSettlementRequest { key, chain_id, nonce, allowances, read_at_ms };
            control.report_settlement(report).await?.sequence
        }
        ReportVerb::Prices(PricesArgs { prices }) => {
            let prices = prices.into_iter();
            let prices = prices.map(|(asset, micro_usd)| ReferencePrice { asset, micro_usd });
            let report = ReportPricesRequest { prices: prices.collect() };
            control.report_prices(report).await?.sequence
        }
    };
    let human = fields(&[("record", sequence.to_string())]);
    output.result(&human, &json!({ "sequence": sequence }))?;
    Ok(Exit::Done)
}

fn allowance(text: &str) -> Result<Standing, String> {
    let mut parts = text.split(':');
    let address = |part: Option<&str>| part.and_then(|part| part.parse::<Address>().ok());
    let (token, spender) = (address(parts.next()), address(parts.next()));
    let amount = parts.next().filter(|amount| amount.bytes().all(|b| b.is_ascii_digit()));
    match (token, spender, amount, parts.next()) {
        (Some(token), Some(spender), Some(amount), None) if !amount.is_empty() => {
            Ok(Standing { token, spender, amount: amount.to_owned() })
        }
        _ => Err("write TOKEN:SPENDER:AMOUNT, two addresses and base units".to_owned()),
    }
}

/// `ETH=3000.5` as the name and millionths.
fn price(text: &str) -> Result<(String, String), String> {
    let wrong = || "write ASSET=USD, with at most six digits after the point".to_owned();
    let (asset, usd) = text.split_once('=').ok_or_else(wrong)?;
    let (whole, fraction) = usd.split_once('.').unwrap_or((usd, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = !asset.is_empty() && !whole.is_empty() && fraction.len() <= 6;
    if !sound || !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let micro = format!("{whole}{fraction:0<6}");
    let micro = micro.trim_start_matches('0');
    Ok((asset.to_owned(), if micro.is_empty() { "0" } else { micro }.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_told_in_millionths() {
        for (text, micro) in
            [("ETH=3000.5", "3000500000"), ("X=0.000001", "1"), ("X=0", "0"), ("X=7", "7000000")]
        {
            assert_eq!(price(text).map(|(_, micro)| micro), Ok(micro.to_owned()), "{text}");
        }
        for bad in ["ETH", "ETH=", "=1", "ETH=1.0000001", "ETH=-1", "ETH=1e3", "ETH=1,5"] {
            assert!(price(bad).is_err(), "{bad}");
        }
    }
}
