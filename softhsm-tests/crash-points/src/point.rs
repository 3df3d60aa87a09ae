//! One moment, and whether it has come.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the process ends.
pub(crate) struct Point {
    file: Which,
    pub(crate) call: Call,
    when: When,
    /// How many such calls are still let pass, this one included.
    left: AtomicU32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Which {
    Segment,
    Spare,
    Checkpoints,
    Snapshot,
    Folder,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    Write,
    Sync,
    Rename,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    Before,
    Half,
    After,
}

impl Point {
    /// `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, number) = text.split_once(' ')?;
        let mut words = name.split(':');
        let file = match words.next()? {
            "segment" => Which::Segment,
            "spare" => Which::Spare,
            "checkpoints" => Which::Checkpoints,
            "snapshot" => Which::Snapshot,
            "folder" => Which::Folder,
            _ => return None,
        };
        let call = match words.next()? {
            "write" => Call::Write,
            "sync" => Call::Sync,
            "rename" => Call::Rename,
            _ => return None,
        };
        let when = match words.next()? {
            "before" => When::Before,
            "half" if call == Call::Write => When::Half,
            "after" => When::After,
            _ => return None,
        };
        let left: u32 = number.parse().ok().filter(|number| *number > 0)?;
        words.next().is_none().then_some(Self { file, call, when, left: AtomicU32::new(left) })
    }

    /// Counts a call on this path, and says when it ends the process, if it does.
    pub(crate) fn reached(&self, path: &Path) -> Option<When> {
        if which(path)? != self.file {
            return None;
        }
        let less = |left: u32| left.checked_sub(1);
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        (before == Ok(1)).then_some(self.when)
    }
}

fn which(path: &Path) -> Option<Which> {
    let is_snapshot = |path: &Path| path.file_name().is_some_and(|name| name == "snapshots");
    if path.parent().is_some_and(is_snapshot) {
        return Some(Which::Snapshot);
    }
    match path.extension().and_then(|end| end.to_str()) {
        Some("journal") => return Some(Which::Segment),
        Some("spare" | "new") => return Some(Which::Spare),
        Some(_) | None => {}
    }
    if path.file_name()? == "checkpoints" {
        return Some(Which::Checkpoints);
    }
    path.is_dir().then_some(Which::Folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_names_a_file_a_call_a_moment_and_which_of_them() {
        let point = Point::parse("segment:write:half 2").unwrap();
        assert_eq!((point.file, point.call), (Which::Segment, Call::Write));
        let segment = Path::new("/x/00000000000000000001.journal");
        assert_eq!(point.reached(Path::new("/x/checkpoints")), None);
        assert_eq!(point.reached(segment), None);
        assert_eq!(point.reached(segment), Some(When::Half));
        assert_eq!(point.reached(segment), None);
        for bad in [
            "",
            "segment:write:half",
            "segment:write:half 0",
            "segment:sync:half 1",
            "segment:write:after:now 1",
            "journal:write:after 1",
        ] {
            assert!(Point::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn each_file_of_the_data_folder_is_told_from_the_others() {
        for (path, expected) in [
            ("/x/00000000000000000001.journal", Some(Which::Segment)),
            ("/x/00000000000000000003.spare", Some(Which::Spare)),
            ("/x/00000000000000000003.new", Some(Which::Spare)),
            ("/x/checkpoints", Some(Which::Checkpoints)),
            ("/x/snapshots/unfinished", Some(Which::Snapshot)),
            ("/proc", Some(Which::Folder)),
            ("/x/addresses.json", None),
        ] {
            assert_eq!(which(Path::new(path)), expected, "{path}");
        }
    }
}
