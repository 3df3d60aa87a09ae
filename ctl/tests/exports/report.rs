//! What `portctl audit report` says of a period, and what it refuses to say.

use alloy_primitives::U256;
use serde_json::json;
use tempfile::TempDir;

use crate::fake::Ran;
use crate::journal::{COLD, DAY, HOT, Journal, NOVEMBER, PAY, SWEEP, eth, eur, portctl};

const ETH: u128 = 1_000_000_000_000_000_000;

/// Three days: payments, a refusal, an allowance without a bound, a stop that was thawed by a
/// quorum, and one that stands.
fn lived() -> Journal {
    let mut journal = Journal::new();
    journal.at(NOVEMBER + DAY);
    journal.signed((PAY, HOT), 0, b"one", eth(2 * ETH, ETH / 10));
    journal.signed((PAY, HOT), 0, b"one, faster", eth(3 * ETH, ETH / 5));
    journal.signed((SWEEP, COLD), 0, b"two", eur("12345"));
    journal.signed((SWEEP, COLD), 1, b"three", eur(&U256::MAX.to_string()));
    journal.denied(PAY, HOT, "OVER_WINDOW_LIMIT");
    let more = json!({ "charge": eth(ETH, 0), "repeats": 7 });
    journal.signed_with((PAY, HOT), 0, b"one", more);
    journal.push(json!({ "suppressed": {
        "caller": PAY, "code": "OVER_WINDOW_LIMIT", "count": 40, "key": HOT,
    }}));
    let vote = journal.voted("bob", "approve", json!({ "parked": "00".repeat(16) }));
    let more = json!({ "charge": eth(ETH, 0), "votes": [vote] });
    journal.signed_with((PAY, HOT), 1, b"large", more);
    let scope = json!({ "key": HOT });
    journal.frozen(scope.clone(), "an alarm");
    journal.at(NOVEMBER + DAY + 5_400_000);
    let proposal = journal.proposed(json!({ "thaw": { "scope": scope } }), "it was nothing");
    let vote = journal.voted("bob", "approve", json!({ "proposal": proposal }));
    journal.executed(proposal, &[vote]);
    journal.at(NOVEMBER + 2 * DAY);
    journal.start(512, &[9, 10]);
    journal.frozen(json!({ "caller": SWEEP }), "<script>alert(1)</script>");
    journal
}

fn report(journal: &Journal, more: &[&str]) -> (TempDir, Ran) {
    let folder = tempfile::tempdir().expect("folder");
    journal.export(folder.path());
    let ran = portctl(folder.path(), &[&["audit", "report", "journal"], more].concat());
    (folder, ran)
}

fn told(journal: &Journal, more: &[&str]) -> serde_json::Value {
    let (_folder, ran) = report(journal, &[more, &["--output", "json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

#[test]
fn a_report_counts_requests_and_sums_what_they_may_cost() {
    let told = told(&lived(), &[]);
    let requests = &told["requests"];
    assert_eq!((&requests["signed"], &requests["signed_again"]), (&json!(6), &json!(1)));
    let by_reason = json!({ "OVER_WINDOW_LIMIT": 1 });
    assert_eq!(requests["refused"], json!({ "total": 1, "by_reason": by_reason }));
    assert_eq!(requests["suppressed"]["total"], 40);
    // The two transactions for one nonce count once, the repeat not at all.
    let sums: Vec<_> = told["amounts"].as_array().expect("sums").iter().collect();
    let texts: Vec<_> = sums.iter().map(|sum| (&sum["asset"], &sum["sum_text"])).collect();
    let texts: Vec<_> = texts.iter().map(|(asset, text)| (asset.as_str(), text.as_str())).collect();
    let expected = [("native", "4 ETH"), ("fee", "0.2 ETH"), ("token", "123.45 EUR")];
    assert_eq!(texts, expected.map(|(asset, text)| (Some(asset), Some(text))), "{told:#}");
    let largest = json!({ "amount": (3 * ETH).to_string(), "text": "3 ETH", "sequence": 8 });
    assert_eq!(sums[0]["largest"], largest);
    assert_eq!((&sums[2]["unlimited"], &sums[2]["signatures"]), (&json!(1), &json!(2)));
    assert_eq!(told["by_key"][0]["label"], "hot");
    assert_eq!(told["by_caller"][1]["caller"], SWEEP);
    assert_eq!(told["starts"][1]["lost_decisions"], json!([9, 10]));
}

#[test]
fn a_report_tells_who_stopped_and_who_agreed_and_for_how_long() {
    let told = told(&lived(), &[]);
    let thawed = &told["stops"][0]["thawed"];
    assert_eq!(told["stops"][0]["reason"], "an alarm");
    assert_eq!((&thawed["lasted_ms"], &thawed["approved"]), (&json!(5_400_000), &json!(["bob"])));
    assert_eq!(told["stops"][1]["thawed"], json!(null));
    let bob = json!({
        "person": "bob", "approved": 2, "rejected": 0, "requests_decided": 1,
        "proposals_decided": 1,
    });
    assert_eq!(told["votes"], json!([bob]));
    assert_eq!(told["approved_requests"][0]["approved"], json!(["bob"]));
    let whats: Vec<_> = told["changes"].as_array().expect("changes").iter().collect();
    assert_eq!(whats.last().expect("a change")["what"], "thaw key hot");
}

#[test]
fn a_period_leaves_out_what_was_written_before_and_after_it() {
    let journal = lived();
    let second = told(&journal, &["--from", "2026-11-02", "--to", "2026-11-02"]);
    assert_eq!(second["requests"]["signed"], 6);
    assert_eq!(second["starts"], json!([]));
    assert_eq!(second["stops"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["period"]["until"], "2026-11-03T00:00:00.000Z");
    let third = told(&journal, &["--from", "2026-11-03T00:00:00Z"]);
    assert_eq!((&third["requests"]["signed"], &third["period"]["records"]), (&json!(0), &json!(2)));
    assert_eq!(third["stops"][0]["what"], format!("caller {SWEEP}"), "the other was over");
}

#[test]
fn a_report_of_one_key_has_nothing_of_another() {
    let cold = told(&lived(), &["--key", "cold"]);
    assert_eq!((&cold["requests"]["signed"], &cold["stops"]), (&json!(2), &json!([])));
    let both = told(&lived(), &["--key", "cold", "--key", HOT]);
    assert_eq!(both["requests"]["signed"], 6);
}

#[test]
fn for_people_a_report_says_what_was_checked_and_calls_unlimited_what_is() {
    let (_folder, ran) = report(&lived(), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in [
        "checked      bytes and tree",
        "which portctl audit verify journal shows",
        "123.45 EUR, and 1 × unlimited",
        "1h 30m",
        "still in force",
        "requests by caller",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
}

#[test]
fn an_export_that_does_not_check_has_no_report() {
    let good = lived();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("journal");
    good.export(folder.path());
    let text = std::fs::read_to_string(&path).expect("export");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let spoilt = [
        ("the head speaks of", text.replace("an alarm", "an alerm")),
        ("the head speaks of", lines[..lines.len() - 1].concat()),
        ("is record 4, and record 3", [&lines[..2], &lines[3..]].concat().concat()),
        ("line 2 of journal is no record", text.replacen("\"a-boot\"", " \"a-boot\"", 1)),
        ("does not begin with a genesis record", String::new()),
        ("line 1 of journal is no record", "a;csv;file\n".to_owned()),
    ];
    for (words, spoilt) in spoilt {
        std::fs::write(&path, spoilt).expect("write");
        let ran = portctl(folder.path(), &["audit", "report", "journal", "--page", "page.html"]);
        assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{words}: {ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
        assert!(!folder.path().join("page.html").exists());
    }
    std::fs::write(&path, &text).expect("write");
    std::fs::rename(folder.path().join("journal.head"), folder.path().join("kept")).expect("moved");
    let ran = portctl(folder.path(), &["audit", "report", "journal"]);
    assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{ran:?}");
    assert!(ran.err.contains("--head"), "{}", ran.err);
    let ran = portctl(folder.path(), &["audit", "report", "journal", "--head", "kept"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn what_cannot_be_reported_says_what_to_change() {
    for (code, words, more) in [
        (2, "the period is empty", &["--from", "2026-11-03", "--to", "2026-11-01"][..]),
        (1, "no record is in the period", &["--from", "2027-01-01"]),
        (1, "knows no key warm: it has hot, cold", &["--key", "warm"]),
        (2, "write a day", &["--from", "yesterday"]),
        (1, "cannot be written", &["--page", "no/such/folder/page.html"]),
    ] {
        let (_folder, ran) = report(&lived(), more);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    let folder = tempfile::tempdir().expect("folder");
    let ran = portctl(folder.path(), &["audit", "report", "nothing"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing cannot be read"), "{}", ran.err);
}

#[test]
fn the_page_is_of_one_file_and_what_others_wrote_is_no_markup() {
    let (folder, ran) = report(&lived(), &["--page", "page.html"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("page");
    for foreign in ["http://", "https://", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("123.45 EUR, and 1 × unlimited"));
}
