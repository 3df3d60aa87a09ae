//! The real `ssh-keygen`, in a folder of its own and without anybody's agent.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{run, written};

pub(crate) struct Keygen {
    folder: TempDir,
}

impl Keygen {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ssh-keygen");
        command.args(arguments).env_remove("SSH_AUTH_SOCK").env("HOME", self.folder());
        command
    }

    /// What it writes when it does something.
    pub(crate) fn does(&self, arguments: &[&str], input: &[u8]) -> String {
        written(run(self.folder(), &mut self.command(arguments), input))
    }

    /// A file of the folder.
    pub(crate) fn file(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).expect("written");
    }

    /// A new key pair's public line.
    pub(crate) fn key(&self, name: &str, kind: &[&str]) -> String {
        let arguments = [&["-q", "-N", "", "-C", "a person@home", "-f", name], kind].concat();
        self.does(&arguments, b"");
        fs::read_to_string(self.folder().join(format!("{name}.pub"))).expect("a line")
    }

    /// Signs with a key of the folder.
    pub(crate) fn signs(&self, name: &str, namespace: &str, message: &[u8]) -> String {
        self.does(&["-Y", "sign", "-q", "-f", name, "-n", namespace], message)
    }

    /// Signs with a key that only an agent has.
    pub(crate) fn signs_through(
        &self,
        socket: &Path,
        public: &str,
        [namespace, message]: [&str; 2],
    ) -> String {
        let mut command = self.command(&["-Y", "sign", "-q", "-f", public, "-n", namespace]);
        command.env("SSH_AUTH_SOCK", socket);
        written(run(self.folder(), &mut command, message.as_bytes()))
    }

    /// Whether it takes a signature: by the key of a line, and as one of whoever made it.
    pub(crate) fn takes(
        &self,
        line: &str,
        [namespace, armored]: [&str; 2],
        message: &[u8],
    ) -> bool {
        self.file("allowed", &format!("alice {line}\n"));
        self.file("signature", armored);
        let end = ["-n", namespace, "-s", "signature"];
        let verify = [&["-Y", "verify", "-f", "allowed", "-I", "alice"], &end[..]].concat();
        let check = [&["-Y", "check-novalidate"], &end[..]].concat();
        let good = |arguments: &[&str]| {
            run(self.folder(), &mut self.command(arguments), message).status.success()
        };
        let (verified, checked) = (good(&verify), good(&check));
        assert!(checked || !verified, "what is verified is a signature");
        verified
    }
}
