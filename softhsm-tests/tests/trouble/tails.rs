//! `portctl audit tail --follow --cursor`: a program that keeps the records elsewhere gets each of
//! them once, whatever becomes of the signer meanwhile.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use portcullis_softhsm_tests::place;
use portcullis_softhsm_tests::world::{BookText, Failure, ether, payment};
use serde_json::Value;

use crate::support::{Scene, eventually};

/// One address for a signer that listens at another one after each start.
struct Front {
    listens: SocketAddr,
    behind: Arc<Mutex<SocketAddr>>,
}

impl Front {
    fn of(behind: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (listens, behind) = (listener.local_addr()?, Arc::new(Mutex::new(behind)));
        let target = behind.clone();
        thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                let signer = *target.lock().unwrap();
                // Nobody is there while it is down: then the caller is hung up on.
                let Ok(signer) = TcpStream::connect(signer) else { continue };
                pump(&caller, &signer);
                pump(&signer, &caller);
            }
        });
        Ok(Self { listens, behind })
    }

    fn moves_to(&self, scene: &Scene) {
        *self.behind.lock().unwrap() = scene.server.addresses().control_plane;
    }
}

/// One way, until either end hangs up.
fn pump(from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Both));
        drop(from.shutdown(std::net::Shutdown::Both));
    });
}

/// A program that follows. Dropping it kills it.
struct Tail {
    process: Child,
    out: PathBuf,
}

impl Tail {
    fn start(scene: &Scene, front: &Front, name: &str) -> Result<Self, Failure> {
        let folder = scene.vault.folder.path();
        let ada = scene.vault.person(&scene.server, "ada")?;
        let out = folder.join(format!("{name}.jsonl"));
        let process = Command::new(place::binary("portctl")?)
            .args(["audit", "tail", "--follow", "--cursor", "cursor", "--output", "json"])
            .args(["--endpoint", &format!("https://{}", front.listens), "--ca"])
            .arg(&ada.ca)
            .arg("--certificate")
            .arg(&ada.certificate)
            .arg("--private-key")
            .arg(&ada.private_key)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(out.with_extension("err"))?)
            .spawn()?;
        Ok(Self { process, out })
    }

    /// Whole lines that came so far.
    fn lines(&self) -> Result<Vec<String>, Failure> {
        lines(&self.out)
    }

    /// Waits until the last record there is has come.
    async fn has_all_of(&mut self, scene: &Scene) -> Result<(), Failure> {
        let last = scene.status().await?.sequence;
        eventually("the last record to come", async || {
            if let Some(status) = self.process.try_wait()? {
                let said = fs::read_to_string(self.out.with_extension("err"))?;
                return Err(format!("it ended with {status}: {said}").into());
            }
            let newest = self.lines()?.last().map(|line| sequence(line));
            Ok(newest.is_some_and(|newest| newest >= last))
        })
        .await
    }

    fn kill_9(mut self) -> Result<PathBuf, Failure> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(self.out.clone())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path)?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    Ok(whole.map(|line| line.trim_end().to_owned()).collect())
}

fn sequence(line: &str) -> u64 {
    let record: Value = serde_json::from_str(line).unwrap();
    record["seq"].as_u64().unwrap()
}

async fn pay(scene: &Scene, nonces: std::ops::Range<u64>) -> Result<(), Failure> {
    let payouts = scene.payouts().await?;
    for nonce in nonces {
        assert_eq!(scene.outcome(&payouts, &payment(nonce, ether(1))).await, "signed");
    }
    Ok(())
}

/// The records as an auditor exports them.
async fn exported(scene: &Scene) -> Result<Vec<String>, Failure> {
    let lines = scene.vault.export(&scene.server).await?;
    let records = lines.into_iter().filter(|(sequence, _)| *sequence > 0);
    Ok(records.map(|(_, line)| String::from_utf8(line)).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn a_follower_gets_every_record_once_over_stops_and_crashes_of_the_signer_and_its_own()
-> Result<(), Failure> {
    let scene = Scene::new(BookText::default()).await?;
    let front = Front::of(scene.server.addresses().control_plane)?;
    let mut tail = Tail::start(&scene, &front, "first")?;
    pay(&scene, 0..3).await?;
    tail.has_all_of(&scene).await?;

    // Asked to end, with the follower connected; then killed in the middle of things.
    let scene = scene.stop_and_start().await?;
    front.moves_to(&scene);
    pay(&scene, 3..5).await?;
    tail.has_all_of(&scene).await?;
    let scene = scene.restart().await?;
    front.moves_to(&scene);
    pay(&scene, 5..8).await?;
    tail.has_all_of(&scene).await?;
    let whole = exported(&scene).await?;
    let came = tail.lines()?;
    assert_eq!(came, whole[..came.len()], "byte for byte, each once, in order");
    assert_eq!(came.iter().filter(|line| line.contains("\"started\"")).count(), 3);

    // A follower that is killed goes on from its cursor: nothing is lost, and what came twice is
    // what was written last.
    let first = lines(&tail.kill_9()?)?;
    pay(&scene, 8..10).await?;
    let mut tail = Tail::start(&scene, &front, "second")?;
    tail.has_all_of(&scene).await?;
    let second = lines(&tail.kill_9()?)?;
    let whole = exported(&scene).await?;
    let begins = usize::try_from(sequence(&second[0]))? - 1;
    assert!(begins <= first.len(), "records between {} and {begins} are lost", first.len());
    assert_eq!(second, whole[begins..begins + second.len()]);
    scene.journal().await?;
    Ok(())
}
