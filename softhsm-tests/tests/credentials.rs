//! People's signatures, made and judged by what people use: OpenSSH, OpenSSL, webauthn-rs.
//!
//! Two questions. Is what such a tool makes a proof to us? And is what we take for a proof taken
//! by the tool as well? Where we are stricter, the difference is written down.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

#[path = "credentials/agent.rs"]
mod agent;
#[path = "credentials/keygen.rs"]
mod keygen;
#[path = "credentials/passkey.rs"]
mod passkey;
#[path = "credentials/ssh.rs"]
mod ssh;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_policy::credential::Purpose;

const STATEMENT: &[u8] = b"portcullis-vote/v1\nvote: APPROVE\n";

const PURPOSES: [Purpose; 4] =
    [Purpose::Vote, Purpose::Genesis, Purpose::Enrolment, Purpose::Recovery];

/// Runs a tool in a folder, with something to read.
fn run(folder: &Path, command: &mut Command, input: &[u8]) -> Output {
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the tool is installed");
    // A tool that refuses early reads nothing: that is no failure of ours.
    child.stdin.take().expect("a pipe").write_all(input).ok();
    child.wait_with_output().expect("an end")
}

/// What a tool wrote, which must not have failed.
fn written(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}
