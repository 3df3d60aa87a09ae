//! `deploy/bench`'s program: measures the shipped signer against the bare token, prints a table and
//! writes a summary.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_softhsm_tests::load::{
    Measurement, Options, OwnToken, Summary, measure, per_request, serve_raw, table,
};

/// Measures the signer against the bare token, in interleaved rounds of one run.
#[derive(Parser)]
#[command(name = "deploy/bench", version)]
struct Arguments {
    /// Rounds of raw, unary, stream, single caller and instant token.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each stretch of load.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Two rounds of one second: shows that it runs, measures little.
    #[arg(long)]
    quick: bool,
    /// Sessions on the token, for the signer and for the raw rate alike.
    #[arg(long, default_value_t = 4)]
    sessions: u32,
    /// Requests in flight.
    #[arg(long, default_value_t = 48)]
    in_flight: usize,
    /// Connections they are spread over; a connection takes 64 requests at once.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// A PKCS#11 module of your own instead of SoftHSM; a key is made in it and destroyed again.
    #[arg(long, requires = "token", requires = "pin_file")]
    module: Option<PathBuf>,
    /// The label of your token.
    #[arg(long, requires = "module")]
    token: Option<String>,
    /// A file that holds your token's user PIN.
    #[arg(long, requires = "module")]
    pin_file: Option<PathBuf>,
    /// Where the summary is written, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let ended = match std::env::args().nth(1).as_deref() {
        Some("raw") => {
            let arguments: Vec<String> = std::env::args().skip(2).collect();
            serve_raw(&arguments).map_err(Into::into)
        }
        _ => run(Arguments::parse()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error + Send + Sync>> {
    let options = options(&arguments)?;
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .thread_name("generator")
        .enable_all()
        .build()?;
    let say = move |line: &str| {
        drop(writeln!(io::stderr(), "[{:>4.0} s] {line}", begun.elapsed().as_secs_f64()));
    };
    // On a worker and not on this thread: then the generator is as many threads as were asked for.
    let measured = {
        let options = options.clone();
        runtime.block_on(runtime.spawn(async move { measure(&options, say).await }))??
    };
    let text = describe(&options, &measured);
    writeln!(io::stdout(), "{text}")?;
    if let Some(path) = arguments.summary {
        let summary = Summary::of(options.sessions, &measured.rounds);
        fs::write(&path, serde_json::to_string_pretty(&summary)? + "\n")?;
        writeln!(io::stdout(), "summary: {}", path.display())?;
    }
    Ok(())
}

fn options(arguments: &Arguments) -> io::Result<Options> {
    let Arguments { module, token, pin_file, .. } = arguments;
    let own = match (module, token, pin_file) {
        (Some(module), Some(token), Some(pin_file)) => Some(OwnToken {
            module: fs::canonicalize(module)?,
            token: token.clone(),
            pin_file: fs::canonicalize(pin_file)?,
        }),
        _ => None,
    };
    let (rounds, seconds) =
        if arguments.quick { (2, 1) } else { (arguments.rounds.max(1), arguments.seconds.max(1)) };
    Ok(Options {
        rounds,
        time: Duration::from_secs(seconds),
        sessions: arguments.sessions,
        in_flight: arguments.in_flight.max(1),
        connections: arguments.connections.clamp(1, 64),
        own,
        program: std::env::current_exe()?,
    })
}

fn describe(options: &Options, measured: &Measurement) -> String {
    let mut text = table(options.sessions, options.in_flight, &measured.rounds);
    text.push_str(&format!("\n{:<44}{:>10}\n", "processor time of one request", "us"));
    text.push_str(&format!("{:<44}{:>10.1}\n", "raw C_Sign", measured.raw_cpu_us));
    for profile in &measured.cpu {
        for (who, spent) in [("signer", &profile.signer), ("generator", &profile.generator)] {
            let name = format!("{}: {who}", profile.name);
            text.push_str(&per_request(&name, spent, profile.replies));
        }
    }
    let signatures = measured.signatures;
    text.push_str(&format!(
        "\n{signatures} replies, each recovered to the key's address; {signatures} signed records, \
         each decision repeated from the journal"
    ));
    text
}

fn report(error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    let mut words = Vec::new();
    while let Some(error) = next {
        words.push(error.to_string());
        next = error.source();
    }
    drop(writeln!(io::stderr(), "failed: {}", words.join(": ")));
}
