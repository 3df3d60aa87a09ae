//! Secrets that are known here, looked for byte by byte wherever a signer that tells all it can and
//! the tools of people leave anything: in the clear, in hex, in Base64 at any offset, as numbers.
//!
//! That the process can be neither dumped nor looked into is shown in `token.rs`, on a signer that
//! runs as a user of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alloy_primitives::U256;
use portcullis_client::wire::freeze_scope::Scope;
use portcullis_client::{ClientConfig, SignedTransaction};
use portcullis_softhsm_tests::world::{BookText, Failure, ether, payment};
use portcullis_softhsm_tests::{http, place, wait};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::support::{REPORTS, Scene, signed};

/// A secret in one of the forms that it could be found in.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Needle {
    what: &'static str,
    form: Vec<u8>,
}

/// Somewhere that a secret must not be.
struct Place {
    name: String,
    content: Vec<u8>,
}

impl Place {
    fn new(name: impl ToString, content: Vec<u8>) -> Self {
        // Free space of a segment, which would only take time.
        let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Self { name: name.to_string(), content: content[..end].to_vec() }
    }

    fn holds(&self, needle: &Needle) -> bool {
        let first = needle.form[0];
        let starts = self.content.iter().enumerate().filter(|(_, byte)| **byte == first);
        starts.map(|(at, _)| &self.content[at..]).any(|rest| rest.starts_with(&needle.form))
    }
}

/// Text, as it is and encoded.
fn text(what: &'static str, text: &str) -> Vec<Needle> {
    let mut forms = encoded(what, text.as_bytes());
    forms.push(Needle { what, form: text.into() });
    forms
}

/// Bytes, in every form: raw, hex, Base64, and as a list of numbers.
fn bytes(what: &'static str, bytes: &[u8]) -> Vec<Needle> {
    let mut forms = encoded(what, bytes);
    let listed: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    for form in [bytes.to_vec(), listed.join(", ").into(), listed.join(",").into()] {
        forms.push(Needle { what, form });
    }
    if let Some(number) = U256::try_from_be_slice(bytes) {
        forms.push(Needle { what, form: number.to_string().into() });
    }
    forms
}

fn encoded(what: &'static str, bytes: &[u8]) -> Vec<Needle> {
    let mut forms = vec![hex::encode(bytes), hex::encode_upper(bytes)];
    // Within something longer it is shifted; what a neighbour has a part in is left out.
    for (shift, of_others) in [(0, 0), (1, 2), (2, 3)] {
        let text = base64([&vec![0; shift][..], bytes].concat().as_slice());
        let whole = (shift + bytes.len()) * 8 / 6;
        let own = &text[of_others..whole];
        forms.push(own.to_owned());
        forms.push(own.replace('+', "-").replace('/', "_"));
    }
    forms.into_iter().map(|form| Needle { what, form: form.into() }).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding as _};
    Base64::encode_string(bytes)
}

/// What the private half of a key on P-256 is in its file (RFC 5915: version 1, then 32 bytes).
fn scalar(der: &[u8]) -> &[u8] {
    let mark = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = der.windows(mark.len()).position(|part| part == mark).expect("a key on P-256");
    &der[at + mark.len()..][..32]
}

/// Private keys of the signer's planes, of callers and of people, and those that issue them.
fn private_keys(scene: &Scene) -> Result<Vec<Needle>, Failure> {
    let mut needles = Vec::new();
    for folder in ["services", "people"] {
        for path in files_in(&scene.vault.folder.path().join(folder))? {
            if path.extension().is_none_or(|extension| extension != "key") {
                continue;
            }
            let pem = fs::read_to_string(&path)?;
            let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
            needles.extend(bytes("a private key", scalar(der.secret_der())));
            let lines = pem.lines().filter(|line| !line.starts_with("-----"));
            let long = lines.filter(|line| line.len() > 20);
            needles.extend(long.map(|line| Needle { what: "a key file", form: line.into() }));
        }
    }
    Ok(needles)
}

fn of_signature(signed: &SignedTransaction) -> Vec<Needle> {
    let signature = signed.signature.as_bytes();
    let mut needles = bytes("r of a signature", &signature[..32]);
    needles.extend(bytes("s of a signature", &signature[32..64]));
    needles.extend(bytes("a signed transaction", &signed.raw_transaction));
    needles
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Runs `portctl` as this person; what it said is one place more.
fn portctl(
    person: &ClientConfig,
    folder: &Path,
    words: &[&str],
    places: &mut Vec<Place>,
) -> Result<Vec<u8>, Failure> {
    let ran = Command::new(place::binary("portctl")?)
        .args(words)
        .args(["--endpoint", &person.endpoint])
        .args([Path::new("--ca"), &person.ca, Path::new("--certificate"), &person.certificate])
        .args([Path::new("--private-key"), &person.private_key])
        .current_dir(folder)
        .output()?;
    let said = [ran.stdout.as_slice(), &ran.stderr].concat();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    places.push(Place::new(format!("portctl {}", words.join(" ")), said));
    Ok(ran.stdout)
}

/// Everything that people and auditors get: exports, reports, receipts, and what is on a screen.
fn told(scene: &Scene, of: &SignedTransaction, places: &mut Vec<Place>) -> Result<(), Failure> {
    let folder = scene.vault.folder.path().join("told");
    fs::create_dir(&folder)?;
    let ada = scene.vault.person(&scene.server, "ada")?;
    let checkpoint = ["--output", "json", "audit", "checkpoint", "-o", "checkpoint"];
    let said = portctl(&ada, &folder, &checkpoint, places)?;
    let said: serde_json::Value = serde_json::from_slice(&said)?;
    let journal = said["journal"].as_str().ok_or("no key")?;
    let sequence = of.sequence.to_string();
    for words in [
        &["audit", "export", "-o", "export"][..],
        &["audit", "receipt", &sequence, "-o", "receipt", "--journal", journal],
        &["audit", "show", &sequence],
        &["audit", "tail", "-n", "1000"],
        &["--output", "json", "audit", "tail", "-n", "1000"],
        &["audit", "verify", "export", "--statements"],
        &["audit", "report", "export", "--page", "page.html"],
        &["--output", "json", "audit", "report", "export"],
        &["--output", "json", "status"],
        &["--output", "json", "key", "show", "hot"],
    ] {
        portctl(&ada, &folder, words, places)?;
    }
    Ok(())
}

/// All that a signer leaves on the disk, in its log and its environment, and answers in the clear.
fn left(scene: &Scene, places: &mut Vec<Place>) -> Result<(), Failure> {
    let (installation, pid) = (&scene.vault.installation, scene.server.pid());
    for name in ["cmdline", "environ", "limits", "status"] {
        places.push(Place::new(name, fs::read(format!("/proc/{pid}/{name}"))?));
    }
    for page in ["/metrics", "/livez", "/readyz"] {
        let answer = http::get(scene.server.addresses().loopback, page)?;
        places.push(Place::new(page, answer.body));
    }
    let config = installation.config();
    let check = Command::new(place::binary("portcullis")?)
        .args([Path::new("check"), Path::new("--config"), config])
        .env("RUST_LOG", "trace")
        .output()?;
    assert!(check.status.success(), "{check:?}");
    places.push(Place::new("portcullis check", [check.stdout, check.stderr].concat()));
    let folder = scene.vault.folder.path().join("told");
    let files = files_in(installation.data())?.into_iter().chain(files_in(&folder)?);
    for path in files.chain([installation.log().to_owned(), config.to_owned()]) {
        places.push(Place::new(path.display(), fs::read(&path)?));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_a_signer_or_a_tool_leaves_behind() -> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?.talkative().await?;
    let payouts = scene.payouts().await?;
    let first = signed(scene.sign(&payouts, &payment(0, ether(1))).await);
    // Again, as one more signature over the same; refused, malformed, nobody's; stopped.
    let again = signed(scene.sign(&payouts, &payment(0, ether(1))).await);
    let second = signed(scene.sign(&payouts, &payment(1, ether(1))).await);
    assert_eq!(scene.outcome(&payouts, &payment(2, ether(11))).await, "OVER_TRANSACTION_LIMIT");
    assert_eq!(scene.outcome(&payouts, &first.raw_transaction).await, "TX_ALREADY_SIGNED");
    let reports = scene.vault.client(&scene.server, REPORTS).await?;
    assert_eq!(scene.outcome(&reports, &payment(3, ether(1))).await, "CALLER_NOT_ALLOWED");
    let sam = scene.vault.control(&scene.server, "sam").await?;
    let stop = sam.freeze(Scope::All(true), "drill").await?;
    assert_eq!(scene.outcome(&payouts, &payment(1, ether(1))).await, "FROZEN");
    wait::until_async("the stop to be under a checkpoint", async || {
        (sam.checkpoint(0).await.ok()?.size >= stop.sequence).then_some(())
    })
    .await?;
    let scene = scene.restart().await?;
    let mut places = Vec::new();
    told(&scene, &first, &mut places)?;
    left(&scene, &mut places)?;

    let mut needles = text("the PIN", scene.vault.token.pin());
    needles.extend(private_keys(&scene)?);
    [&first, &again, &second].into_iter().for_each(|one| needles.extend(of_signature(one)));
    needles.sort_unstable();
    needles.dedup();
    // The search sees what is there: the same forms in the files that have to hold them.
    let own = Place::new("its file", fs::read(scene.vault.token.pin_file())?);
    assert!(needles.iter().any(|one| one.what == "the PIN" && own.holds(one)));
    for name in ["export", ".journal", "portcullis.log", "receipt", "tail", "report", "page.html"] {
        assert!(places.iter().any(|place| place.name.contains(name)), "{name} was not looked at");
    }
    let digest = Needle { what: "a digest", form: hex::encode(first.digest).into() };
    for name in [".journal", "told/export", "receipt.record"] {
        let holds = |place: &&Place| place.name.ends_with(name) && place.holds(&digest);
        assert!(places.iter().any(|place| holds(&place)), "{name} has no record of it");
    }
    assert!(needles.len() > 100, "{} needles", needles.len());
    let found: BTreeSet<(&str, &str)> = places
        .iter()
        .flat_map(|place| needles.iter().map(move |needle| (place, needle)))
        .filter(|(place, needle)| place.holds(needle))
        .map(|(place, needle)| (needle.what, place.name.as_str()))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn a_secret_is_found_in_whatever_form_and_wherever_it_was_left() {
    let secret: Vec<u8> = (0..32).map(|number| 255 - 7 * number).collect();
    let needles = bytes("a secret", &secret);
    let listed: Vec<String> = secret.iter().map(ToString::to_string).collect();
    let number = U256::from_be_slice(&secret).to_string();
    let url = |text: String| text.replace('+', "-").replace('/', "_");
    for (form, left) in [
        ("raw", secret.clone()),
        ("hex", hex::encode(&secret).into()),
        ("upper hex", hex::encode_upper(&secret).into()),
        ("debug", format!("{secret:?}").into()),
        ("JSON", listed.join(",").into()),
        ("a number", number.into()),
        ("Base64", base64(&secret).into()),
        ("Base64 for URLs", url(base64(&secret)).into()),
        ("Base64 of more", base64(&[&b"x"[..], &secret, b"yz"].concat()).into()),
        ("Base64 of still more", base64(&[&b"xy"[..], &secret, b"z"].concat()).into()),
        ("Base64 of both", url(base64(&[&b"abcde"[..], &secret, b"z"].concat())).into()),
    ] {
        let place = Place::new("x", [b"before ", &left[..], b" after"].concat());
        assert!(needles.iter().any(|needle| place.holds(needle)), "{form}");
    }
    let clean = Place::new("x", hex::encode([7; 64]).into());
    assert!(!needles.iter().any(|needle| clean.holds(needle)));
}
