//! The stop and the book, from people's side.

use std::fs;

use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::wire::{FenceState, FreezeResponse, ReportSettlementRequest, SignedForm};
use portcullis_client::{Client, Code, KeyRef};
use portcullis_softhsm_tests::wait;
use portcullis_softhsm_tests::world::{BookText, CHAIN, Failure, PAYOUTS, ether, payment};

use crate::support::{REPORTS, Scene, call_refused, outcome, said, signed};

/// Two keys, `hot` (tag `web`) and `cold` (tag `vault`); both callers may use both.
struct Two {
    scene: Scene,
    cold: KeyRef,
    payouts: Client,
    reports: Client,
    nonce: u64,
}

fn two_keys() -> String {
    let text = BookText::default().to_string();
    let both = format!("callers = [\"{PAYOUTS}\", \"{REPORTS}\"]");
    let text = text.replace(&format!("callers = [\"{PAYOUTS}\"]"), &both);
    let (head, hot) = text.split_once("[key.hot]").unwrap();
    format!("{head}[key.hot]{hot}[key.cold]{hot}")
}

impl Two {
    async fn new() -> Result<Self, Failure> {
        let scene = Scene::new(two_keys()).await?;
        let cold = scene.cold_key().await?;
        let payouts = scene.payouts().await?;
        let reports = scene.vault.client(&scene.server, REPORTS).await?;
        let mut two = Self { scene, cold, payouts, reports, nonce: 0 };
        assert_eq!(two.tell().await, ["signed"; 4]);
        Ok(two)
    }

    /// What payouts and reports get of `hot`, then of `cold`.
    async fn tell(&mut self) -> [String; 4] {
        self.nonce += 1;
        let preimage = payment(self.nonce, ether(1));
        let ask = async |client: &Client, key: &KeyRef| {
            outcome(self.scene.sign_as(client, key, &client.new_request_id(), &preimage).await)
        };
        [
            ask(&self.payouts, &self.scene.key).await,
            ask(&self.reports, &self.scene.key).await,
            ask(&self.payouts, &self.cold).await,
            ask(&self.reports, &self.cold).await,
        ]
    }

    async fn freeze(&self, scope: Scope) -> Result<(), Failure> {
        let sam = self.scene.vault.control(&self.scene.server, "sam").await?;
        let frozen = sam.freeze(scope, "drill").await?;
        assert!(frozen.recorded);
        assert_eq!(frozen.withheld, 0);
        assert!(frozen.last_released_sequence > 0);
        assert!(frozen.sequence > frozen.last_released_sequence);
        Ok(())
    }

    /// SoftHSM loses a key whose process is killed while it writes to it.
    async fn until_the_token_knows(&self) -> Result<(), Failure> {
        let sam = self.scene.vault.control(&self.scene.server, "sam").await?;
        let moving = [FenceState::Closing, FenceState::Opening];
        wait::until_async("no fence is on its way", async || {
            let keys = sam.list_keys().await.ok()?;
            (!keys.iter().any(|key| moving.contains(&key.fence()))).then_some(())
        })
        .await?;
        Ok(())
    }

    /// The stop holds, also after a crash, and the journal says whose it was.
    async fn holds_to(mut self, expected: [&str; 4]) -> Result<(), Failure> {
        assert_eq!(self.tell().await, expected);
        self.until_the_token_knows().await?;
        self.scene = self.scene.restart().await?;
        self.payouts = self.scene.payouts().await?;
        self.reports = self.scene.vault.client(&self.scene.server, REPORTS).await?;
        assert_eq!(self.tell().await, expected);
        assert_eq!(self.scene.status().await?.frozen.len(), 1);
        let journal = self.scene.journal().await?;
        assert_eq!(journal.of("frozen")[0]["by"]["person"], "sam");
        assert_eq!(journal.of("frozen")[0]["reason"], "drill");
        Ok(())
    }
}

#[tokio::test]
async fn a_frozen_key_signs_for_nobody_and_the_other_key_goes_on() -> Result<(), Failure> {
    let two = Two::new().await?;
    two.freeze(Scope::Key("hot".into())).await?;
    two.holds_to(["FROZEN", "FROZEN", "signed", "signed"]).await
}

#[tokio::test]
async fn a_key_can_be_frozen_by_its_id() -> Result<(), Failure> {
    let two = Two::new().await?;
    two.freeze(Scope::Key(two.cold.id.to_string())).await?;
    two.holds_to(["signed", "signed", "FROZEN", "FROZEN"]).await
}

#[tokio::test]
async fn a_frozen_caller_gets_nothing_and_the_other_caller_goes_on() -> Result<(), Failure> {
    let two = Two::new().await?;
    two.freeze(Scope::Caller(PAYOUTS.into())).await?;
    two.holds_to(["FROZEN", "signed", "FROZEN", "signed"]).await
}

#[tokio::test]
async fn a_frozen_tag_stops_the_keys_that_have_it_and_no_others() -> Result<(), Failure> {
    let two = Two::new().await?;
    two.freeze(Scope::Tag("vault".into())).await?;
    two.holds_to(["signed", "signed", "FROZEN", "FROZEN"]).await
}

#[tokio::test]
async fn a_stop_of_everything_stops_everything() -> Result<(), Failure> {
    let two = Two::new().await?;
    two.freeze(Scope::All(true)).await?;
    two.holds_to(["FROZEN"; 4]).await
}

#[tokio::test]
async fn a_stop_lists_what_was_released_and_is_not_known_to_be_mined() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    let mut given = Vec::new();
    for nonce in 0..3 {
        given.push(signed(scene.sign(&payouts, &payment(nonce, ether(1))).await));
    }
    let wanda = scene.vault.control(&scene.server, "wanda").await?;
    let mined = ReportSettlementRequest {
        key: "hot".into(),
        chain_id: CHAIN,
        nonce: 1,
        allowances: Vec::new(),
        read_at_ms: None,
    };
    wanda.report_settlement(mined).await?;

    let sam = scene.vault.control(&scene.server, "sam").await?;
    let frozen = sam.freeze(Scope::Key("hot".into()), "drill").await?;
    let listed = |frozen: &FreezeResponse| -> Vec<(u64, Option<u64>)> {
        frozen.unsettled.iter().map(|one| (one.sequence, one.nonce)).collect()
    };
    let expected = [(given[2].sequence, Some(2)), (given[1].sequence, Some(1))];
    assert_eq!(listed(&frozen), expected);
    assert_eq!((frozen.unsettled_more, frozen.unsettled_incomplete), (0, false));
    let one = &frozen.unsettled[0];
    assert_eq!((one.chain_id, one.form()), (CHAIN, SignedForm::Transaction));
    assert_eq!((one.label.as_str(), &one.address[..]), ("hot", scene.key.address.as_slice()));
    assert_eq!(one.callers, [PAYOUTS]);
    let digest = alloy_primitives::keccak256(payment(2, ether(1)));
    assert_eq!(one.digest, digest.as_slice());
    assert!(one.signed_at_ms > 1_700_000_000_000, "{one:?}");

    // Whoever stops everything later, after a crash, is told the same.
    let scene = scene.restart().await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let all = sam.freeze(Scope::All(true), "drill").await?;
    assert_eq!(listed(&all), expected);
    let reports = sam.freeze(Scope::Caller(REPORTS.into()), "drill").await?;
    assert_eq!(listed(&reports), [], "nothing was signed for it");
    Ok(())
}

#[tokio::test]
async fn a_stop_of_nothing_known_is_refused_and_stops_nothing() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let key = call_refused(sam.freeze(Scope::Key("typo".into()), "drill").await);
    assert_eq!(said(&key), (Code::NotFound, "NOT_FOUND"));
    let tag = call_refused(sam.freeze(Scope::Tag("typo".into()), "drill").await);
    assert_eq!(said(&tag), (Code::NotFound, "NOT_FOUND"));
    let all = call_refused(sam.freeze(Scope::All(false), "drill").await);
    assert_eq!(said(&all), (Code::InvalidArgument, "BAD_FIELD"));
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(1))).await, "signed");
    assert_eq!(scene.journal().await?.count("frozen"), 0);
    Ok(())
}

#[tokio::test]
async fn a_stop_is_not_refused_for_its_reason() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let reasons = ["", "a\nb", &"x".repeat(501)];
    for reason in reasons {
        assert!(sam.freeze(Scope::Key("hot".into()), reason).await?.recorded, "{reason:?}");
    }
    let journal = scene.journal().await?;
    let said: Vec<&str> =
        journal.of("frozen").iter().filter_map(|one| one["reason"].as_str()).collect();
    assert_eq!(said, ["no reason was given", "a\\nb", &("x".repeat(500) + "..")]);
    Ok(())
}

#[tokio::test]
async fn a_frozen_key_stays_frozen_when_a_book_is_adopted() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let sam = scene.vault.control(&scene.server, "sam").await?;
    sam.freeze(Scope::Key("hot".into()), "drill").await?;
    let narrower = BookText { per_tx: "9 ETH".into(), ..BookText::default() };
    sam.adopt_book(narrower.to_string()).await?;
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(1))).await, "FROZEN");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_faulty_book_gets_all_its_faults_at_once_each_with_its_line_and_a_hint()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let text = BookText::default()
        .to_string()
        .replace("parked = 5", "parked = \"many\"")
        .replace("max_priority_fee = \"5 gwei\"", "max_priority_fee = \"5 gewi\"")
        .replace("to = \"@suppliers\", per_tx = \"1_000 USDC\"", "to = \"@typo\", per_tx = \"x\"");
    let line_of = |needle: &str| {
        let at = text.lines().position(|line| line.contains(needle));
        u32::try_from(at.unwrap() + 1).unwrap()
    };
    let wanted = ["many", "gewi", "@typo"].map(line_of);

    let answer = olga.check_book(text.clone()).await?;
    for fault in &answer.faults {
        assert!(fault.line > 0 && fault.column > 0, "{fault:?}");
        assert!(!fault.message.is_empty() && !fault.hint.is_empty(), "{fault:?}");
    }
    for line in wanted {
        let told = answer.faults.iter().any(|fault| fault.line == line);
        assert!(told, "nothing of line {line}: {:#?}", answer.faults);
    }

    let refusal = call_refused(olga.adopt_book(text.clone()).await);
    assert_eq!(said(&refusal), (Code::InvalidArgument, "BOOK_FAULTY"));
    assert_eq!(refusal.violations().len(), answer.faults.len());
    for (violation, fault) in refusal.violations().iter().zip(&answer.faults) {
        let place = format!("line {}, column {}", fault.line, fault.column);
        assert_eq!(violation.subject, place);
        assert_eq!(violation.description, format!("{} ({})", fault.message, fault.hint));
    }
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(1))).await, "signed");
    assert_eq!(scene.journal().await?.count("adopted"), 0);
    Ok(())
}

#[tokio::test]
async fn a_book_with_three_hundred_faults_is_refused_by_name_with_as_many_as_fit()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let bad: String = (0..300).map(|number| format!("\"no address {number}\", ")).collect();
    let text = BookText::default().to_string();
    let text = text.replace("suppliers = [", &format!("suppliers = [{bad}"));
    let faults = olga.check_book(text.clone()).await?.faults.len();
    assert!(faults >= 300, "{faults}");

    let refusal = call_refused(olga.adopt_book(text).await);
    assert_eq!(said(&refusal), (Code::InvalidArgument, "BOOK_FAULTY"));
    let fit = refusal.violations().len();
    assert!((1..faults).contains(&fit), "{fit}");
    let more = format!("(and {} more)", faults - fit);
    assert!(refusal.message().contains(&more), "{}", refusal.message());
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_book_that_widens_three_hundred_things_is_refused_by_name_with_as_many_as_fit()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let text = BookText::default().to_string();
    let rules = text.split_once("[key.hot]").unwrap().1;
    let keys: String = (0..300).map(|number| format!("[key.new-{number}]{rules}")).collect();
    let text = format!("{text}{keys}");
    let refusal = call_refused(olga.adopt_book(text.clone()).await);
    assert_eq!(said(&refusal), (Code::FailedPrecondition, "BOOK_WIDENS"));
    let (fit, wider) = (refusal.violations().len(), olga.check_book(text).await?.wider.len());
    assert!((1..wider).contains(&fit), "{fit} of {wider}");
    let more = format!("(and {} more)", wider - fit);
    assert!(refusal.message().contains(&more), "{}", refusal.message());
    Ok(())
}

#[tokio::test]
async fn a_book_that_widens_is_refused_with_what_it_widens() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let wider = BookText { per_tx: "11 ETH".into(), ..BookText::default() };
    for person in ["olga", "sam"] {
        let control = scene.vault.control(&scene.server, person).await?;
        let refusal = call_refused(control.adopt_book(wider.to_string()).await);
        assert_eq!(said(&refusal), (Code::FailedPrecondition, "BOOK_WIDENS"));
        let violations = refusal.violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].description.contains("11 ETH"), "{violations:?}");
        assert!(violations[0].description.contains("key hot"), "{violations:?}");
    }
    let payouts = scene.payouts().await?;
    let over = payment(0, ether(10));
    assert_eq!(scene.outcome(&payouts, &over).await, "OVER_TRANSACTION_LIMIT");
    assert_eq!(scene.journal().await?.count("adopted"), 0);
    Ok(())
}

#[tokio::test]
async fn a_book_that_narrows_and_widens_is_refused_whole() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let mixed = BookText {
        per_tx: "1 ETH".into(),
        window: "\"26 ETH / 1h\"".into(),
        ..BookText::default()
    };
    let refusal = call_refused(olga.adopt_book(mixed.to_string()).await);
    assert_eq!(refusal.reason(), Some("BOOK_WIDENS"));
    assert_eq!(scene.outcome(&scene.payouts().await?, &payment(0, ether(9))).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn a_book_that_narrows_is_in_force_at_once_and_after_a_restart() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, "signed");
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let narrower = BookText { per_tx: "5 ETH".into(), ..BookText::default() };
    let adopted = olga.adopt_book(narrower.to_string()).await?;
    assert!(adopted.changes.iter().any(|line| line.contains("5 ETH")), "{adopted:?}");
    // Also what was signed before: a repeat is spared the charge, never the check.
    let over = "OVER_TRANSACTION_LIMIT";
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, over);
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(6))).await, over);
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(4))).await, "signed");

    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, over);
    assert_eq!(scene.status().await?.book_hash, adopted.book_hash);
    assert_eq!(scene.journal().await?.count("adopted"), 1);
    Ok(())
}

#[tokio::test]
async fn a_narrowed_window_counts_what_was_spent_before_it() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let payouts = scene.payouts().await?;
    assert_eq!(scene.outcome(&payouts, &payment(0, ether(6))).await, "signed");
    let olga = scene.vault.control(&scene.server, "olga").await?;
    let window = "\"25 ETH / 1h\", \"10 ETH / 2h\"".into();
    olga.adopt_book(BookText { window, ..BookText::default() }.to_string()).await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(4))).await, "OVER_WINDOW_LIMIT");
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(3))).await, "signed");
    scene.journal().await?;
    Ok(())
}

#[tokio::test]
async fn an_edited_book_file_and_a_restart_change_nothing() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let before = scene.status().await?;
    let wider = BookText { per_tx: "1_000 ETH".into(), ..BookText::default() }.to_string();
    let file = scene.vault.folder.path().join("book.toml");
    assert!(file.exists());
    fs::write(&file, wider)?;
    let scene = scene.restart().await?;
    let payouts = scene.payouts().await?;
    let over = payment(0, ether(10));
    assert_eq!(scene.outcome(&payouts, &over).await, "OVER_TRANSACTION_LIMIT");
    let after = scene.status().await?;
    assert_eq!(after.book_hash, before.book_hash);
    assert_eq!(after.vault_id, before.vault_id);
    fs::remove_file(&file)?;
    let scene = scene.restart().await?;
    assert_eq!(scene.status().await?.book_hash, before.book_hash);
    scene.journal().await?;
    Ok(())
}
