//! Where built and installed things are, found from the running test itself, so that a suite works
//! from any checkout and any target folder.

use std::env;
use std::path::{Path, PathBuf};

/// The real module, where Debian's `softhsm2` package puts it.
pub const SOFTHSM_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Something the rig needs is not there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The test does not know its own path.
    #[error("the path of the running test is unknown")]
    OwnPath(#[source] std::io::Error),
    /// The test does not lie in a target folder.
    #[error("{path} does not lie in a target folder")]
    NoTarget {
        /// The running executable.
        path: PathBuf,
    },
    /// It has not been built or installed.
    #[error("{path} is missing: {remedy}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What to run.
        remedy: &'static str,
    },
}

/// The folder of the profile this test was built with, such as `target/release`.
pub fn profile_folder() -> Result<PathBuf, PlaceError> {
    let path = env::current_exe().map_err(PlaceError::OwnPath)?;
    let folder = path.parent().map(|folder| {
        let nested = folder.ends_with("deps") || folder.ends_with("examples");
        if nested { folder.parent().unwrap_or(folder) } else { folder }
    });
    folder.map(Path::to_owned).ok_or(PlaceError::NoTarget { path })
}

/// A binary of this workspace: from `PORTCULLIS_BIN_DIR` if set, else beside this test.
pub fn binary(name: &str) -> Result<PathBuf, PlaceError> {
    let folder = match env::var_os("PORTCULLIS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder()?,
    };
    present(folder.join(name), "run `cargo build --release`")
}

/// SoftHSM's module.
pub fn softhsm_module() -> Result<PathBuf, PlaceError> {
    present(SOFTHSM_MODULE.into(), "install the Debian package softhsm2")
}

/// p11-kit's client module, where Debian's `p11-kit-modules` package puts it.
pub fn p11_kit_client() -> Result<PathBuf, PlaceError> {
    let path = format!("/usr/lib/{}-linux-gnu/pkcs11/p11-kit-client.so", env::consts::ARCH);
    present(path.into(), "install the Debian packages p11-kit and p11-kit-modules")
}

/// The fault module: from `PORTCULLIS_FAULT_MODULE` if set, else beside this test.
pub fn fault_module() -> Result<PathBuf, PlaceError> {
    let remedy = "run `cargo build --release -p portcullis-fault-module`";
    if let Some(path) = env::var_os("PORTCULLIS_FAULT_MODULE") {
        return present(path.into(), remedy);
    }
    let name = "libportcullis_fault_module.so";
    let profile = profile_folder()?;
    // Built as a dependency of this test it is in `deps`; what lies above may be older.
    let as_dependency = profile.join("deps").join(name);
    if as_dependency.exists() {
        return Ok(as_dependency);
    }
    present(profile.join(name), remedy)
}

/// The library that kills the signer at a named moment, beside this test.
pub fn crash_points() -> Result<PathBuf, PlaceError> {
    let path = profile_folder()?.join("libportcullis_crash_points.so");
    present(path, "run `cargo build --release -p portcullis-crash-points`")
}

/// The anvil node: from `PORTCULLIS_ANVIL` if set, else as `npm` installs it into `node` in this
/// build's target folder, or in the workspace's own if the build goes elsewhere.
pub fn anvil() -> Result<PathBuf, PlaceError> {
    let remedy = "run `npm i --ignore-scripts --prefix target/node @foundry-rs/anvil@1.7.1`";
    if let Some(path) = env::var_os("PORTCULLIS_ANVIL") {
        return present(path.into(), remedy);
    }
    let profile = profile_folder()?;
    let target = profile.parent().ok_or(PlaceError::NoTarget { path: profile.clone() })?;
    let package = match env::consts::ARCH {
        "aarch64" => "anvil-linux-arm64",
        _ => "anvil-linux-amd64",
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let installed = |target: &Path| {
        target.join("node/node_modules/@foundry-rs").join(package).join("bin/anvil")
    };
    present(installed(target), remedy).or_else(|_| present(installed(&workspace), remedy))
}

fn present(path: PathBuf, remedy: &'static str) -> Result<PathBuf, PlaceError> {
    if path.exists() { Ok(path) } else { Err(PlaceError::Missing { path, remedy }) }
}
