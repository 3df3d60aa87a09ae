//! Parts of the journal that cannot be read after a start from a snapshot.

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::journal::{Archive, OpenError};

/// The segment that comes second: a start from a snapshot does not look into it.
fn second_segment(folder: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect();
    all.sort();
    assert!(all.len() > 3, "{all:?}");
    all.swap_remove(1)
}

#[tokio::test]
async fn what_was_taken_on_trust_and_cannot_be_read_stops_everything() {
    let in_its_place: [fn(&Path); 2] = [
        |path| fs::create_dir(path).unwrap(),
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
    ];
    let settled = settled_at(TOKEN, 240).await;
    for put in in_its_place {
        let folder = copy(settled.path());
        let path = second_segment(folder.path());
        fs::remove_file(&path).unwrap();
        put(&path);
        let running = Running::start(folder.path()).await;
        assert!(running.began.is_some());
        running.shadow_found("it cannot be read").await;
        running.end();
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "nothing here has to outlive the test")]
async fn a_journal_that_cannot_be_read_for_a_while_is_read_once_it_can() {
    let folder = settled_at(TOKEN, 240).await;
    let path = second_segment(folder.path());
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let pace = Pace { again_after: Duration::from_millis(300), ..PACE };
    let running = Running::start_paced(folder.path(), Marked::Nothing, pace).await;
    while running.progress.troubles().is_empty() {
        tokio::time::sleep(SOON).await;
    }
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    // Nothing more is recorded meanwhile.
    while running.progress.verified() < running.head {
        assert!(!running.progress.is_mismatch(), "{:?}", running.progress.troubles());
        tokio::time::sleep(SOON).await;
    }
    assert!(!running.is_all_stopped());
    running.end();
}

/// A folder that starts from a snapshot, with all that such a start does not read in an archive.
async fn archived() -> (tempfile::TempDir, tempfile::TempDir) {
    let (folder, archive) = (settled_at(TOKEN, 240).await, tempfile::tempdir().unwrap());
    let upto = *Folder::of(folder.path()).list().unwrap().last().unwrap();
    let moved = Archive::open(folder.path(), archive.path()).unwrap().move_below(upto, |_| ());
    let moved = moved.unwrap();
    assert!(moved.archived > 1 && moved.stay > 1, "{moved:?}");
    (folder, archive)
}

impl Running {
    async fn start_with(folder: &Path, archive: Option<&Path>) -> Self {
        Self::start_archived(folder, Marked::Nothing, PACE, (seal(), archive)).await
    }

    async fn is_troubled_by(&self, what: &str) {
        while !self.progress.troubles().iter().any(|line| line.contains(what)) {
            assert!(!self.is_all_stopped(), "{:?}", self.progress.troubles());
            tokio::time::sleep(SOON).await;
        }
    }
}

#[tokio::test]
async fn a_start_reads_what_was_archived_as_if_it_had_stayed() {
    let (folder, archive) = archived().await;
    let running = Running::start_with(folder.path(), Some(archive.path())).await;
    assert!(running.began.is_some());
    running.verified().await;
    assert_eq!(running.progress.troubles(), Vec::<String>::new());
    running.end();
    // As after an upgrade: what other code wrote is no snapshot.
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let running = Running::start_with(folder.path(), Some(archive.path())).await;
    assert_eq!(running.began, None);
    running.end();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "nothing here has to outlive the test")]
async fn while_its_archive_is_away_a_vault_signs_and_says_so_and_reads_it_once_it_is_back() {
    let (folder, archive) = archived().await;
    let aside = archive.path().with_extension("aside");
    fs::rename(archive.path(), &aside).unwrap();
    let running = Running::start_with(folder.path(), Some(archive.path())).await;
    assert!(running.began.is_some());
    running.is_troubled_by("mount the archive").await;
    for number in 0..40 {
        running.stop(number).await;
    }
    // Many more looks at it than a disk that fails is given.
    tokio::time::sleep(40 * SOON).await;
    assert!(!running.is_all_stopped() && !running.progress.is_mismatch());

    fs::rename(&aside, archive.path()).unwrap();
    running.verified().await;
    while !running.progress.troubles().is_empty() {
        tokio::time::sleep(SOON).await;
    }
    assert!(!running.is_all_stopped());
    running.end();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "nothing here has to outlive the test")]
async fn a_segment_that_leads_to_where_nobody_said_it_may_be_stops_everything() {
    let (folder, archive) = archived().await;
    let aside = archive.path().with_extension("aside");
    fs::rename(archive.path(), &aside).unwrap();
    let elsewhere = archive.path().join("below");
    for named in [None, Some(elsewhere.as_path())] {
        let folder = copy_with_links(folder.path());
        let running = Running::start_with(folder.path(), named).await;
        running.shadow_found("mount the archive").await;
        running.end();
    }
    fs::rename(&aside, archive.path()).unwrap();
}

#[tokio::test]
async fn a_segment_that_was_taken_out_of_an_archive_that_is_there_stops_everything() {
    let (folder, archive) = archived().await;
    let mut names: Vec<_> = fs::read_dir(archive.path()).unwrap().map(Result::unwrap).collect();
    assert!(names.len() > 1, "{names:?}");
    fs::remove_file(names.remove(0).path()).unwrap();
    let running = Running::start_with(folder.path(), Some(archive.path())).await;
    running.shadow_found("mount the archive").await;
    running.end();
}

#[tokio::test]
async fn a_start_without_a_snapshot_and_without_the_archive_says_what_is_missing() {
    let (folder, archive) = archived().await;
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    drop(archive);
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::Away { .. }), "{error}");
    assert!(error.to_string().contains("mount the archive"), "{error}");
}

#[tokio::test]
async fn an_archive_that_was_changed_stops_everything() {
    let (folder, archive) = archived().await;
    let entry = fs::read_dir(archive.path()).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(entry.path()).unwrap();
    bytes[300] ^= 1;
    fs::write(entry.path(), bytes).unwrap();
    let running = Running::start_with(folder.path(), Some(archive.path())).await;
    running.shadow_found("the checksum does not match").await;
    running.end();
}

/// A copy as `cp -a` makes it.
fn copy_with_links(from: &Path) -> tempfile::TempDir {
    let to = copy_but(from, |path| fs::read_link(path).is_ok());
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if let Ok(target) = fs::read_link(entry.path()) {
            std::os::unix::fs::symlink(target, to.path().join(entry.file_name())).unwrap();
        }
    }
    to
}
