//! The rig's way with the shipped signer: it must see it come up, go down, come back, and stay
//! away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

use std::fs;
use std::path::PathBuf;

use portcullis_softhsm_tests::http;
use portcullis_softhsm_tests::pki::{Authority, Leaf};
use portcullis_softhsm_tests::server::{Installation, Plane, ServerError, Settings};
use portcullis_softhsm_tests::token::{Through, Token};
use tempfile::TempDir;

/// An installation with an empty book; its journal is not made yet.
struct Site {
    folder: TempDir,
    token: Token,
    installation: Installation,
}

fn site(through: Through) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let token = Token::fresh(through).unwrap();
    let authority = Authority::new(&folder.path().join("pki"), "Rig CA").unwrap();
    let server = authority.issue(&Leaf::loopback_server("server")).unwrap();
    let plane = Plane::new(&server, &authority.certificate());
    let data = folder.path().join("data");
    let settings = Settings::new(&data, &token, [plane.clone(), plane]);
    let installation = Installation::new(folder.path(), &settings, &token).unwrap();
    Site { folder, token, installation }
}

impl Site {
    fn genesis(&self) -> PathBuf {
        let book = "version = 1\n\n[chain.dev]\nid = 31337\nnative = \"ETH\"\n";
        fs::write(self.folder.path().join("book.toml"), book).unwrap();
        let people = "environment = \"development\"\nbook = \"book.toml\"\n\n\
            [[person]]\nid = \"olga\"\nroles = [\"operator\"]\ncontrol = \"spiffe://rig/olga\"\n\n\
            [[person]]\nid = \"sam\"\nroles = [\"security\"]\ncontrol = \"spiffe://rig/sam\"\n";
        let path = self.folder.path().join("genesis.toml");
        fs::write(&path, people).unwrap();
        path
    }
}

#[test]
fn the_signer_comes_up_survives_a_kill_and_goes_down_when_asked() {
    let site = site(Through::Real);
    site.installation.init(&site.genesis()).unwrap();
    let first = site.installation.serve().unwrap();
    let pid = first.pid();
    let second = first.crash_and_restart().unwrap();
    assert_ne!(second.pid(), pid);
    let ready = http::get(second.addresses().loopback, "/readyz").unwrap();
    assert_eq!(ready.status, 200);
    let status = second.terminate().unwrap();
    assert!(status.success(), "{status}\n{}", site.installation.said().unwrap());
}

#[test]
fn a_signer_that_ends_at_once_is_told_from_a_slow_one() {
    let site = site(Through::Real);
    // There is no journal: a failed start.
    let error = site.installation.serve().unwrap_err();
    assert!(matches!(error, ServerError::Ended { .. }), "{error}");
    let (status, said) = site.installation.serve_in_vain().unwrap();
    assert!(!status.success());
    assert!(!said.contains(site.token.pin()), "the PIN is in the log");
}

#[test]
fn the_fault_module_counts_the_signers_logins() {
    let site = site(Through::Faults);
    site.installation.init(&site.genesis()).unwrap();
    let server = site.installation.serve().unwrap();
    assert_eq!(site.token.faults().unwrap().calls("C_Login").unwrap(), 1);
    server.terminate().unwrap();
}
