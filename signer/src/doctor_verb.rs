//! `portcullis doctor`, as people type it.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis::doctor::{self, Finding, Verdict, Wanted};
use portcullis::process::{self, Unhardened};
use serde_json::json;

#[derive(Args)]
pub(crate) struct DoctorVerb {
    /// The signer's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Also do once, with keys that are thrown away afterwards, everything that the signer asks of
    /// a token: what "works with this HSM" means. It makes and removes objects: best on a token
    /// that no running signer uses.
    #[arg(long)]
    conformance: bool,
    /// How many seconds to measure the rate at each number of signatures at once; 0 leaves it out.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = seconds())]
    measure: u64,
    /// For machines: one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// At most a minute at each.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=60)
}

/// Something is not as it must be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoctorFault {
    #[error("the process cannot be hardened")]
    Process(#[from] Unhardened),
    #[error("the operating system does not do its part")]
    System(#[from] std::io::Error),
    #[error("the answer cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("{0} of {1} findings are bad: the signer would not work, or not safely")]
    Bad(usize, usize),
}

impl DoctorFault {
    /// As `portcullis --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Bad(..) => 69,
            Self::Process(_) | Self::System(_) | Self::Json(_) => 74,
        }
    }
}

impl DoctorVerb {
    pub(crate) fn run(self) -> Result<(), DoctorFault> {
        let Self { config, conformance, measure, json } = self;
        process::harden()?;
        let wanted = Wanted { measure: Duration::from_secs(measure), conformance };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut findings: Vec<Finding> = Vec::new();
        let mut out = std::io::stdout().lock();
        let mut written = Ok(());
        runtime.block_on(doctor::examine(&config, wanted, &mut |finding| {
            if !json && written.is_ok() {
                written = writeln!(out, "{finding}").and_then(|()| out.flush());
            }
            findings.push(finding);
        }));
        // A call that hangs in the module is not waited for.
        runtime.shutdown_background();
        written?;
        let worst = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
        let (bad, look) = (worst(Verdict::Bad), worst(Verdict::Look));
        if json {
            let all = json!({ "bad": bad, "findings": findings, "look": look });
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        } else if bad == 0 {
            let also = if look == 0 { String::new() } else { format!(", {look} to look at") };
            writeln!(out, "nothing is bad{also}")?;
        }
        if bad > 0 { Err(DoctorFault::Bad(bad, findings.len())) } else { Ok(()) }
    }
}
