//! How a vault begins: everybody signs, nobody is left out, and no quorum takes everybody.

use std::fs;

use portcullis_softhsm_tests::people::{GENESIS, VOTE};
use portcullis_softhsm_tests::token::Through;
use portcullis_softhsm_tests::world::{DECIDERS, Failure, QUORUMS, Vault, governed_book};

fn said(vault: &Vault) -> Result<String, Failure> {
    let genesis = vault.folder.path().join("genesis.toml");
    match vault.installation.init(&genesis) {
        Ok(()) => Ok("made".into()),
        Err(error) => {
            // All that its processes have said so far: only the last of them counts.
            let said = error.to_string();
            Ok(said.rsplit("ERROR").next().unwrap_or_default().to_owned())
        }
    }
}

fn proposed(quorums: &str) -> Result<Vault, Failure> {
    Vault::unsigned(Through::Real, &governed_book().to_string(), quorums)
}

#[test]
fn a_vault_is_made_when_everybody_has_signed_and_not_before() -> Result<(), Failure> {
    let vault = proposed(QUORUMS)?;
    let first = said(&vault)?;
    for (person, _) in DECIDERS {
        assert!(first.contains(&vault.pens.fingerprint(person)?), "{person}: {first}");
    }
    let folder = vault.folder.path().join("ceremony");
    let statement = fs::read_to_string(folder.join("statement.txt"))?;
    assert!(statement.starts_with("Portcullis genesis, version 1\n"), "{statement}");
    for (at, (person, _)) in DECIDERS.iter().enumerate() {
        let signature = vault.pens.sign(person, GENESIS, &statement)?;
        fs::write(folder.join(format!("{person}.sig")), signature)?;
        let now = said(&vault)?;
        let last = at + 1 == DECIDERS.len();
        assert_eq!(now == "made", last, "{now}");
        assert!(last || !now.contains(&vault.pens.fingerprint(person)?), "{now}");
    }
    let server = vault.serve()?;
    server.terminate()?;
    assert!(said(&vault)?.contains("journal"), "a second init touches nothing");
    Ok(())
}

#[test]
fn a_signature_that_is_nobodys_or_over_something_else_is_pointed_at() -> Result<(), Failure> {
    let vault = proposed(QUORUMS)?;
    said(&vault)?;
    let folder = vault.folder.path().join("ceremony");
    let statement = fs::read_to_string(folder.join("statement.txt"))?;
    let changed = statement.replace("development", "staging");
    for (pen, namespace, text) in
        [("mallory", GENESIS, &statement), ("alan", VOTE, &statement), ("alan", GENESIS, &changed)]
    {
        fs::write(folder.join("stray.sig"), vault.pens.sign(pen, namespace, text)?)?;
        let now = said(&vault)?;
        assert!(now.contains("stray.sig"), "{pen} {namespace}: {now}");
    }
    fs::remove_file(folder.join("stray.sig"))?;
    // The proposal changes after some may have signed.
    move_to(&vault, "staging")?;
    assert!(said(&vault)?.contains("another proposal"), "{}", said(&vault)?);
    Ok(())
}

#[test]
fn quorums_that_could_not_be_met_or_take_everybody_are_refused_with_what_to_do()
-> Result<(), Failure> {
    let thaw = "need = \"2 of security\"\nexpires = \"1h\"\nexecute";
    for (need, words) in [
        ("3 of security", "cannot be met without"),
        ("4 of security", "can never be met"),
        ("2 of treasury", "no role that votes"),
        ("0 of security", "is no quorum"),
        ("two of security", "is no quorum"),
        ("security", "is no quorum"),
    ] {
        let changed = QUORUMS.replacen(thaw, &thaw.replace("2 of security", need), 1);
        let now = said(&proposed(&changed)?)?;
        assert!(now.contains(words), "{need}: {now}");
    }
    let at_once = QUORUMS.replacen("delay = \"1s\"\n", "", 1);
    let now = said(&proposed(&at_once)?)?;
    assert!(now.contains("delay must be above zero"), "{now}");
    // Keys in files do not count unless somebody wrote so.
    let strict = QUORUMS.replacen("credentials = \"file\"\n", "", 1);
    let now = said(&proposed(&strict)?)?;
    assert!(now.contains("can never be met"), "{now}");
    // Where money is, nobody begins without.
    let vault = proposed("")?;
    move_to(&vault, "production")?;
    let now = said(&vault)?;
    assert!(now.contains("needs [quorum.thaw]"), "{now}");
    Ok(())
}

/// The proposal and its book, for another environment.
fn move_to(vault: &Vault, environment: &str) -> Result<(), Failure> {
    let named = format!("environment = \"{environment}\"");
    let in_book = format!("version = 1\n{named}");
    for (file, before, after) in [
        ("genesis.toml", "environment = \"development\"", &named),
        ("book.toml", "version = 1", &in_book),
    ] {
        let path = vault.folder.path().join(file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen(before, after, 1))?;
    }
    Ok(())
}
