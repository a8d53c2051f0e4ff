//! Real folders without mounts, and a file system that fails.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;
use crate::testing::{self, FakeMounter, Fault, FaultyFiles};

struct Fixture {
    _folder: tempfile::TempDir,
    store: Store,
    disk: Arc<FaultyFiles>,
    spec: VolumeSpec,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyFiles::default());
    let store = Store::open_with(disk.clone(), folder.path(), 1 << 20, &FakeMounter::default()).unwrap();
    Fixture { _folder: folder, store, disk, spec: testing::spec("csi-1", "/pods/a/mount") }
}

fn write(f: &Fixture, text: &str, second: i64) {
    f.store.write(&f.spec, &files(text), &validity(), at(second)).unwrap();
}

/// Keeps the state alone.
fn save(f: &Fixture) {
    f.store.stage_state(&f.spec, &validity()).unwrap();
    f.store.switch_state(&f.spec.id).unwrap();
}

fn files(text: &str) -> Vec<File> {
    let file = |name: &str| File {
        name: name.parse().unwrap(),
        content: SecretBytes::new(text.as_bytes().to_vec()),
    };
    vec![file("tls.crt"), file("tls.key"), file("ca.crt")]
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn validity() -> Validity {
    Validity { issued_at: at(0), not_before: at(0), not_after: at(90), renew_at: at(60) }
}

fn generations(fixture: &Fixture) -> usize {
    let listed = fs::read_dir(fixture.store.data(&fixture.spec.id)).unwrap();
    listed.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("..1970")).count()
}

#[test]
fn a_volume_without_files_or_without_state_is_unfinished() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
    save(&f);
    assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
    write(&f, "one", 1);
    fs::remove_file(f.store.folder(&f.spec.id).join(METADATA)).unwrap();
    assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
}

#[test]
fn garbage_is_told_and_left_alone() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    let state = f.store.folder(&f.spec.id).join(METADATA);
    for garbage in ["", "garbage", "{\"volumeID\":\"csi-2\",\"targetPath\":\"/t\"}"] {
        fs::write(&state, garbage).unwrap();
        assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Broken(..)]), "{garbage}");
    }
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Broken(..)]));
    fs::create_dir(f.store.root.join("not a volume")).unwrap();
    assert_eq!(f.store.scan().unwrap().len(), 2);
}

#[test]
fn a_complete_volume_is_found_again() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    write(&f, "one", 1);
    save(&f);
    let found = f.store.scan().unwrap();
    let [Found::Live(spec, found)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(**spec, f.spec);
    assert_eq!(*found, validity());
}

#[test]
fn leftovers_of_a_crash_do_not_stop_the_next_write() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    let data = f.store.data(&f.spec.id);
    symlink("..nowhere", data.join(CURRENT_NEXT)).unwrap();
    fs::create_dir(data.join(generation(at(1)))).unwrap();
    fs::write(f.store.folder(&f.spec.id).join(METADATA_NEXT), "half").unwrap();
    write(&f, "one", 1);
    save(&f);
    assert_eq!(fs::read(data.join("tls.key")).unwrap(), b"one");
}

#[test]
fn the_generation_before_stays_until_it_is_swept() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    for (second, text) in [(1, "one"), (2, "two"), (3, "three")] {
        write(&f, text, second);
    }
    fs::create_dir(f.store.data(&f.spec.id).join(generation(at(9)))).unwrap();
    f.store.sweep(&f.spec.id, at(2)).unwrap();
    assert_eq!(generations(&f), 2, "the second was replaced at 3");
    f.store.sweep(&f.spec.id, at(3)).unwrap();
    assert_eq!(generations(&f), 1);
    let name = "tls.key".parse().unwrap();
    assert_eq!(f.store.read(&f.spec.id, &name).unwrap().unwrap().expose(), b"three");
}

#[test]
fn modes_let_the_group_read_and_nobody_write() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    write(&f, "one", 1);
    let folder = f.store.folder(&f.spec.id);
    let generation = generation(at(1));
    for (path, mode) in [
        (folder.clone(), 0o700),
        (folder.join(METADATA), 0o600),
        (folder.join(DATA), testing::folder_mode(0o550)),
        (folder.join(DATA).join(&generation), 0o750),
        (folder.join(DATA).join(&generation).join("tls.key"), 0o440),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "{path:?}");
    }
}

#[test]
fn removing_leaves_nothing_and_may_be_repeated() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    write(&f, "one", 1);
    f.store.remove(&f.spec.id).unwrap();
    f.store.remove(&f.spec.id).unwrap();
    assert!(f.store.scan().unwrap().is_empty());
}

#[test]
fn a_reader_never_sees_two_generations_in_one_folder() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    write(&f, "0", 0);
    let data = f.store.data(&f.spec.id);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0_usize;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || seen == 0 {
                // As a careful program does: resolve the link once, then read both files behind it.
                let generation = data.join(fs::read_link(data.join(CURRENT)).unwrap());
                let key = fs::read(generation.join("tls.key")).unwrap();
                let certificate = fs::read(generation.join("tls.crt")).unwrap();
                assert_eq!(key, certificate);
                assert!(!key.is_empty());
                seen += 1;
            }
        });
        for second in 1..300 {
            write(&f, &second.to_string(), second);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

/// Every name under a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Makes the second write of a volume fail at each of its steps in turn.
fn check_failing_writes(fault: fn(usize) -> Fault) {
    let mut failed = 0;
    loop {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        write(&f, "one", 1);
        let folder = f.store.folder(&f.spec.id);
        let before = names(&folder);
        f.disk.plan(fault(failed));
        let outcome = f.store.write(&f.spec, &files("two"), &validity(), at(2));
        if f.disk.failures() == 0 {
            outcome.unwrap();
            break;
        }
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::Io { source, .. } if f.disk.is_ours(source)), "{error:?}");
        f.disk.plan(Fault::None);
        // Once the switch is done there is no way back; the step behind it is the last one.
        let shown = fs::read(f.store.data(&f.spec.id).join("tls.key")).unwrap();
        if shown == b"one" {
            assert_eq!(names(&folder), before, "step {failed} left something");
        } else {
            f.store.sweep(&f.spec.id, at(9)).unwrap();
            assert_eq!(names(&folder).len(), before.len(), "step {failed} left something");
        }
        write(&f, "three", 3);
        assert_eq!(fs::read(f.store.data(&f.spec.id).join("tls.key")).unwrap(), b"three");
        failed += 1;
    }
    assert!(failed >= 6, "only {failed} steps can fail");
}

#[test]
fn a_write_that_fails_at_any_step_leaves_what_was_there() {
    check_failing_writes(Fault::Denied);
}

#[test]
fn a_write_that_finds_the_disk_full_leaves_what_was_there() {
    check_failing_writes(Fault::Full);
}

#[test]
fn a_full_disk_never_gets_as_far_as_the_switch() {
    let f = fixture();
    f.store.prepare(&f.spec).unwrap();
    write(&f, "one", 1);
    for step in 0.. {
        f.disk.plan(Fault::Full(step));
        if f.store.write(&f.spec, &files("two"), &validity(), at(2)).is_ok() {
            break;
        }
        assert_eq!(fs::read(f.store.data(&f.spec.id).join("tls.key")).unwrap(), b"one", "step {step}");
    }
    assert_eq!(fs::read(f.store.data(&f.spec.id).join("tls.key")).unwrap(), b"two");
}
