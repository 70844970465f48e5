//! Reading files through the ring.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Rig, configs, each_config, key, pattern};
use anyloop_core::driver::{Driver, Event, Key};
use anyloop_uring::{Config, UringDriver};

const FAR: u64 = 5 << 30;

/// A file without a name, for reading and writing.
fn file() -> Arc<File> {
    let path = std::env::temp_dir().join(format!("anyloop-pread-{}", std::process::id()));
    // Tests of one process make it one after the other.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap();
    let options = &mut std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Arc::new(file)
}

/// Something that is read when somebody writes it, as a disk would.
fn slow() -> (Arc<File>, File) {
    let (reader, writer) = io::pipe().unwrap();
    (Arc::new(File::from(OwnedFd::from(reader))), File::from(OwnedFd::from(writer)))
}

fn read(rig: &mut Rig, key: Key) -> (Vec<u8>, io::Result<usize>) {
    match rig.next() {
        Event::Read { key: got, buffer, result } if got == key => (buffer, result),
        other => panic!("expected the end of a read of {key:?}, got {other:?}"),
    }
}

fn bytes_come_from_where_they_are() {
    let file = file();
    file.write_all_at(&pattern(10_000, 1), 0).unwrap();
    file.write_all_at(b"far away", FAR).unwrap();
    each_config(|rig| {
        for (offset, size, expected) in [
            (0, 4096, &pattern(10_000, 1)[..4096]),
            (9000, 4096, &pattern(10_000, 1)[9000..]),
            (FAR + 4, 100, b"away"),
            (FAR + 8, 100, b""),
            (FAR << 10, 100, b""),
        ] {
            // What is after the end of the first part are zeroes.
            let expected = match offset {
                9000 => [expected, &[0; 3096]].concat(),
                _ => expected.to_vec(),
            };
            rig.driver.pread(file.clone(), key(7), vec![9; size], offset).unwrap();
            let (buffer, result) = read(rig, key(7));
            assert_eq!(result.unwrap(), expected.len(), "at {offset}");
            assert!(buffer[..expected.len()] == expected, "at {offset}");
            assert!(buffer[expected.len()..].iter().all(|byte| *byte == 9), "at {offset}");
        }
        rig.silent();
    });
}

fn many_at_once_do_not_mix() {
    let file = file();
    file.write_all_at(&pattern(200 * 64, 3), 0).unwrap();
    each_config(|rig| {
        for index in 0..200 {
            let offset = u64::from(index) * 64;
            rig.driver.pread(file.clone(), key(index), vec![0; 64], offset).unwrap();
        }
        let mut seen = [false; 200];
        for _ in 0..200 {
            let Event::Read { key, buffer, result } = rig.next() else { panic!("only reads") };
            let index = key.slot as usize;
            assert_eq!(result.unwrap(), 64);
            assert_eq!(buffer, pattern(200 * 64, 3)[index * 64..][..64]);
            assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
        }
    });
}

fn an_error_is_the_systems() {
    each_config(|rig| {
        let only_written = File::options().write(true).open("/dev/null").unwrap();
        rig.driver.pread(Arc::new(only_written), key(1), vec![0; 8], 0).unwrap();
        let (buffer, result) = read(rig, key(1));
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(buffer.len(), 8);
        let directory = Arc::new(File::open("/").unwrap());
        rig.driver.pread(directory, key(1), vec![0; 8], 0).unwrap();
        assert_eq!(read(rig, key(1)).1.unwrap_err().raw_os_error(), Some(libc::EISDIR));
    });
}

fn a_read_holds_its_file_until_its_end() {
    each_config(|rig| {
        let (reader, mut writer) = slow();
        let held = Arc::downgrade(&reader);
        rig.driver.pread(reader, key(1), vec![0; 100], 0).unwrap();
        rig.silent();
        assert!(held.upgrade().is_some(), "the kernel may look at the descriptor");
        writer.write_all(b"late").unwrap();
        let (buffer, result) = read(rig, key(1));
        assert_eq!(&buffer[..result.unwrap()], b"late");
        assert!(held.upgrade().is_none());
    });
}

fn the_end_of_the_driver_ends_reads() {
    for (words, config) in configs() {
        let mut rig = Rig::new(&config);
        let (reader, _writer) = slow();
        let held = Arc::downgrade(&reader);
        let (waiting, fresh) = (key(1), key(2));
        rig.driver.pread(reader.clone(), waiting, vec![0; 100], 0).unwrap();
        rig.silent();
        // One that was not submitted yet.
        rig.driver.pread(reader, fresh, vec![0; 100], 0).unwrap();
        let start = Instant::now();
        rig.driver.shutdown();
        assert!(start.elapsed() < Duration::from_secs(1), "{words}: {:?}", start.elapsed());
        assert!(held.upgrade().is_none(), "{words}");
    }
}

fn a_driver_that_never_ran_lets_go() {
    let mut driver = UringDriver::new(&Config::new()).unwrap();
    let (reader, _writer) = slow();
    let held = Arc::downgrade(&reader);
    driver.pread(reader, key(1), vec![0; 100], 0).unwrap();
    drop(driver);
    assert!(held.upgrade().is_none());
}

fn what_it_cannot_do_comes_back() {
    let file = file();
    let mut off = Rig::words("no-pread");
    assert!(!off.driver.caps().pread);
    assert_eq!(off.driver.pread(file.clone(), key(1), vec![1, 2], 0), Err(vec![1, 2]));
    let mut on = Rig::words("");
    assert!(on.driver.caps().pread);
    // To the kernel, that would be the file's own position.
    assert_eq!(on.driver.pread(file, key(1), vec![1, 2], u64::MAX), Err(vec![1, 2]));
    on.silent();
}

trials! {
    bytes_come_from_where_they_are,
    many_at_once_do_not_mix,
    an_error_is_the_systems,
    a_read_holds_its_file_until_its_end,
    the_end_of_the_driver_ends_reads,
    a_driver_that_never_ran_lets_go,
    what_it_cannot_do_comes_back,
}
