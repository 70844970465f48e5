//! Files and directories on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, SeekFrom};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyloop::fs::{self, File, OpenOptions};
use anyloop::{Error, EventLoopExt, LoopConfig, LoopRef, Result, select, timeout, yield_now};
use anyloop_core::BaseLoop;
use anyloop_uring::UringDriver;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a loop reads files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// As it likes best.
    Best,
    /// What is in memory at once, and the rest in the pool.
    NoEngine,
    /// Everything in the pool.
    Fallback,
}

fn new_loop(backend: &str, way: Way) -> Result<LoopRef> {
    let config = LoopConfig::default().files_fallback(way == Way::Fallback);
    if backend == "uring" && way == Way::NoEngine {
        let driver = UringDriver::new(&anyloop_uring::Config::new().pread(false));
        return BaseLoop::open(driver.map_err(|error| Error::os("a ring", error))?, &config);
    }
    select(backend)?.open(&config)
}

thread_local! {
    /// How the running loop does it.
    static WAY: Cell<Way> = const { Cell::new(Way::Best) };
}

/// Runs `main` on loops of the backend that read files in each of the ways.
fn everywhere(backend: &str, main: impl AsyncFn() -> Result<()> + 'static) -> Result<()> {
    let main = Rc::new(main);
    for way in [Way::Best, Way::NoEngine, Way::Fallback] {
        eprintln!("{backend}, {way:?}");
        WAY.set(way);
        let lp = new_loop(backend, way)?;
        let main = main.clone();
        let done = lp.run_until_complete(async move { timeout(PATIENCE, main()).await? });
        lp.close()?;
        done??;
    }
    Ok(())
}

/// Bytes that tell where they are.
fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|index| ((index * 31 + index / 251) % 255) as u8 + u8::from(index % 31 == 0))
        .collect()
}

/// A file that is on the disk and not in memory, as far as the system can be asked to do that.
fn forgotten(path: &Path, bytes: &[u8]) -> std::fs::File {
    let options = &mut std::fs::OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    forget(&file);
    file
}

fn forget(file: &std::fs::File) {
    file.sync_all().expect("synced");
    rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed).expect("advised");
}

/// Counts what the pool gets.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl anyloop::Executor for Counting {
    fn execute(&self, job: anyloop::Job) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(job);
        Ok(())
    }
}

/// Drops what it gets without running it, at once or later, unless it is told to be a pool.
#[derive(Default)]
struct Dropping {
    /// `Some`: jobs are kept until they are to be dropped.
    kept: Mutex<Option<Vec<anyloop::Job>>>,
    runs: AtomicBool,
}

impl std::fmt::Debug for Dropping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dropping")
    }
}

impl anyloop::Executor for Dropping {
    fn execute(&self, job: anyloop::Job) -> Result<()> {
        if self.runs.load(Ordering::SeqCst) {
            std::thread::spawn(job);
            return Ok(());
        }
        let mut kept = self.kept.lock().expect("nobody panics with it");
        match &mut *kept {
            Some(kept) => kept.push(job),
            None => drop(job),
        }
        Ok(())
    }
}

/// What is open under this path in this process.
fn open_descriptors(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("it is there");
    let names = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.filter(|name| name == path).count()
}

/// A directory that is gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anyloop-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the directory is there");
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    match result {
        Err(error @ Error::Os(_)) => Some(error.io_kind()),
        _ => None,
    }
}

on_every_backend! {
    fn a_file_goes_over_a_stream(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let bytes = vec![b'x'; 500_000];
            fs::write(scratch.path("file"), bytes.clone()).await?;
            let path = scratch.path("file");
            let serve = move |_, writer: anyloop::StreamWriter| {
                let path = path.clone();
                async move {
                    let file = File::open(path).await?;
                    writer.write("head");
                    let sent = writer.sendfile(file.try_clone_fd().await?).await?;
                    assert_eq!((sent, file.tell().await?), (500_000, 500_000));
                    writer.write("tail");
                    writer.close();
                    Ok::<_, Error>(())
                }
            };
            let server = anyloop::start_server("127.0.0.1:0", serve).await?;
            let address = server.local_addr().expect("a TCP server has an address");
            let (reader, writer) = anyloop::open_connection(address).await?;
            let received = reader.read_to_end().await?;
            assert!(received == [b"head", &bytes[..], b"tail"].concat());
            writer.close();
            server.close();
            server.wait_closed().await
        })
    }

    fn reads_writes_seeks(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let options = OpenOptions::new().read(true).write(true).create_new(true);
            let file = options.open(&path).await?;
            file.write_all("one\ntwo\nthree").await?;
            assert_eq!(file.tell().await?, 13);
            assert_eq!(file.read(10).await?, b"");
            assert_eq!(file.seek(SeekFrom::Start(0)).await?, 0);
            assert_eq!(file.read_line().await?, b"one\n");
            // What was read ahead is not lost on any other call.
            assert_eq!(file.tell().await?, 4);
            assert_eq!(file.read_line().await?, b"two\n");
            assert_eq!(file.read(2).await?, b"th");
            file.write_all("RE").await?;
            assert_eq!(file.read_to_end().await?, b"e");
            assert_eq!(file.read_line().await?, b"");
            file.seek(SeekFrom::End(-5)).await?;
            assert_eq!(file.read_line().await?, b"thREe");
            assert_eq!(file.read_at(4, 3).await?, b"two");
            file.write_all_at(0, "ONE").await?;
            assert_eq!(file.tell().await?, 13);
            assert_eq!(fs::read_to_string(&path).await?, "ONE\ntwo\nthREe");
            file.set_len(3).await?;
            file.sync_data().await?;
            file.sync_all().await?;
            assert_eq!(file.metadata().await?.len(), 3);
            assert_eq!(kind(file.seek(SeekFrom::Current(-100)).await), Some(ErrorKind::InvalidInput));
            assert_eq!(kind(options.open(&path).await), Some(ErrorKind::AlreadyExists));
            assert_eq!(file.path(), path);
            Ok(())
        })
    }

    fn appends(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("log");
            let options = OpenOptions::new().append(true).create(true);
            let (one, two) = (options.open(&path).await?, options.open(&path).await?);
            one.write_all("a").await?;
            two.write_all("b").await?;
            one.write_all("c").await?;
            assert_eq!(fs::read(&path).await?, b"abc");
            let truncated = File::create(&path).await?;
            assert_eq!(truncated.metadata().await?.len(), 0);
            // Opened for writing only.
            assert!(kind(truncated.read(1).await).is_some());
            Ok(())
        })
    }

    fn calls_of_one_file_keep_their_order(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let file = File::create(&path).await?;
            let mut tasks = Vec::new();
            for number in 0..200 {
                let file = file.clone();
                let task = async move { file.write_all(format!("{number}\n")).await };
                tasks.push(anyloop::create_task(task)?);
            }
            for task in tasks {
                task.await??;
            }
            let expected: String = (0..200).map(|number| format!("{number}\n")).collect();
            assert_eq!(fs::read_to_string(&path).await?, expected);
            Ok(())
        })
    }

    fn a_cancelled_call_leaves_the_file_usable(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let file = File::create(&path).await?;
            for _ in 0..50 {
                let writer = file.clone();
                let task = anyloop::create_task(async move { writer.write_all("x").await })?;
                yield_now().await;
                task.cancel();
                assert!(matches!(task.await, Err(Error::Cancelled(_)) | Ok(Ok(()))));
            }
            file.write_all("end").await?;
            let text = fs::read_to_string(&path).await?;
            assert!(text.trim_start_matches('x') == "end" && text.len() <= 53, "{text:?}");
            Ok(())
        })
    }

    fn a_call_that_the_pool_drops_is_an_error(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let bytes = pattern(200_000);
            let disk = forgotten(&path, &bytes);
            let file = OpenOptions::new().read(true).write(true).open(&path).await?;
            let mut listing = fs::read_dir(&scratch.0).await?;
            let pool = Arc::new(Dropping::default());
            LoopRef::current()?.set_default_executor(pool.clone());
            let dropped = |result: Result<()>, operation: &str, path: &Path| {
                let error = result.expect_err(operation);
                assert_eq!(error.io_kind(), ErrorKind::Other, "{error:?}");
                let expected = format!("{operation} {path:?}: the executor dropped the job");
                assert_eq!(error.to_string(), expected);
            };
            dropped(file.write_all("x").await, "write", &path);
            dropped(file.sync_all().await, "sync", &path);
            dropped(file.close().await, "close", &path);
            dropped(fs::metadata(&path).await.map(drop), "stat", &path);
            let renamed = fs::rename(&path, "to").await.expect_err("rename").to_string();
            assert_eq!(renamed, format!("rename {path:?} to \"to\": the executor dropped the job"));
            dropped(listing.next().await.map(drop), "list", &scratch.0);
            forget(&disk);
            match file.read_at(0, 150_000).await {
                // The ring has read it, or the page cache had it.
                Ok(read) => assert!(WAY.get() != Way::Fallback && read == bytes[..150_000]),
                read => dropped(read.map(drop), "read", &path),
            }

            // Those that wait for their turn are in the same job.
            *pool.kept.lock().expect("nobody panics with it") = Some(Vec::new());
            let writes = ["a", "b", "c"].map(|text| {
                let file = file.clone();
                anyloop::create_task(async move { file.write_all(text).await })
            });
            // They begin in this order, before this goes on.
            yield_now().await;
            let jobs = pool.kept.lock().expect("nobody panics with it").take().expect("kept");
            assert_eq!(jobs.len(), 1);
            std::thread::spawn(move || drop(jobs)).join().expect("nothing panics");
            for write in writes {
                dropped(write?.await?, "write", &path);
            }

            // And nothing of all this is left.
            pool.runs.store(true, Ordering::SeqCst);
            assert_eq!(file.tell().await?, 0);
            file.write_all("end").await?;
            file.close().await?;
            let left = fs::read(&path).await?;
            assert!(left[..3] == *b"end" && left[3..] == bytes[3..]);
            Ok(())
        })
    }

    fn closing(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let file = File::create(scratch.path("file")).await?;
            let clone = file.clone();
            file.write_all("x").await?;
            file.close().await?;
            assert!(matches!(clone.write_all("y").await, Err(Error::Closed(_))));
            assert!(matches!(clone.close().await, Err(Error::Closed(_))));
            assert!(format!("{clone:?}").contains("closed"), "{clone:?}");
            Ok(())
        })
    }

    fn the_loop_turns_meanwhile(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let turns = Rc::new(Cell::new(0));
            let counter = turns.clone();
            let counting = anyloop::create_task(async move {
                loop {
                    counter.set(counter.get() + 1);
                    yield_now().await;
                }
            })?;
            let file = File::create(scratch.path("file")).await?;
            let before = turns.get();
            file.write_all(vec![7; 8 << 20]).await?;
            file.sync_all().await?;
            assert!(turns.get() > before, "the loop stood still");
            counting.cancel();
            Ok(())
        })
    }

    fn what_is_in_memory_needs_no_thread(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            fs::write(&path, "one\ntwo\nthree").await?;
            let pool = Arc::new(Counting::default());
            LoopRef::current()?.set_default_executor(pool.clone());
            let file = File::open(&path).await?;
            let before = pool.0.load(Ordering::SeqCst);
            assert_eq!(file.read_at(4, 3).await?, b"two");
            assert_eq!(file.read_line().await?, b"one\n");
            assert_eq!(file.read(100).await?, b"two\nthree");
            assert_eq!(file.read(100).await?, b"");
            assert_eq!(file.seek(SeekFrom::Start(4)).await?, 4);
            assert_eq!(file.read(3).await?, b"two");
            assert_eq!(file.tell().await?, 7);
            assert_eq!(file.read_at(14, 1).await?, b"");
            assert_eq!(file.read_at(u64::MAX, 0).await?, b"");
            let jobs = pool.0.load(Ordering::SeqCst) - before;
            let flags = rustix::io::ReadWriteFlags::NOWAIT;
            let plain = std::fs::File::open(&path).expect("it is there");
            let tells = rustix::io::preadv2(&plain, &mut [std::io::IoSliceMut::new(&mut [0])], 0, flags);
            match WAY.get() {
                Way::Fallback => assert!(jobs > 0),
                _ if tells.is_err() => eprintln!("ignored: the file system says {tells:?}"),
                _ => assert_eq!(jobs, 0),
            }
            Ok(())
        })
    }

    fn what_is_not_in_memory_is_read_off_the_loop(backend) {
        let on_uring = backend == "uring";
        everywhere(backend, async move || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let bytes = pattern(300_000);
            let disk = forgotten(&path, &bytes);
            let pool = Arc::new(Counting::default());
            LoopRef::current()?.set_default_executor(pool.clone());
            let file = File::from_std(disk.try_clone().expect("a descriptor"));
            assert!(file.read_at(250_000, 4096).await? == bytes[250_000..254_096]);
            forget(&disk);
            assert!(file.read_at(299_000, 4096).await? == bytes[299_000..]);
            forget(&disk);
            assert!(file.read(65_536).await? == bytes[..65_536]);
            assert_eq!(file.tell().await?, 65_536);
            forget(&disk);
            assert!(file.read(1).await? == bytes[65_536..65_537]);
            assert!(file.read_at(400_000, 10).await?.is_empty());
            if on_uring && WAY.get() == Way::Best {
                assert_eq!(pool.0.load(Ordering::SeqCst), 0, "the ring reads");
            }
            // Too much for the loop's thread, and done in parts.
            forget(&disk);
            let mut all = Vec::new();
            file.seek(SeekFrom::Start(0)).await?;
            loop {
                let piece = file.read(200_000).await?;
                if piece.is_empty() {
                    break;
                }
                all.extend(piece);
            }
            assert!(all == bytes);
            Ok(())
        })
    }

    fn a_file_is_read_by_the_loop_itself(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let bytes = pattern(100_000);
            let file = Arc::new(forgotten(&scratch.path("file"), &bytes));
            let lp = LoopRef::current()?;
            let pread = |size, offset| lp.pread(file.clone(), size, offset);
            let error = |error| Error::os("pread", error);
            let reads = [(0, 0), (1, 99_999), (4096, 50_000), (4096, 99_990), (80_000, 10_000), (10, 100_000)];
            for (size, offset) in reads {
                let expected = &bytes[offset..bytes.len().min(offset + size)];
                assert!(pread(size, offset as u64)?.await?.map_err(error)? == expected, "{offset}");
            }
            let pipe = std::io::pipe().expect("a pipe").0;
            let pipe = Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(pipe)));
            let refused = lp.pread(pipe, 10, 0)?.await?.expect_err("no positions");
            assert_eq!(refused.kind(), ErrorKind::NotSeekable);
            let refused = pread(10, u64::MAX)?.await?.expect_err("no offset");
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            // Nobody waits for these, and none is lost by it.
            for offset in 0..100 {
                drop(pread(4096, offset)?);
                pread(4096, offset)?.cancel();
            }
            assert!(pread(10, 10)?.await?.map_err(error)? == bytes[10..20]);
            Ok(())
        })
    }

    fn a_cancelled_read_has_read_nothing(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let bytes = pattern(20_000);
            let disk = forgotten(&path, &bytes);
            for round in 0..20 {
                forget(&disk);
                let file = File::open(&path).await?;
                let reader = file.clone();
                let read = async move {
                    if round % 2 == 0 { reader.read(4096).await } else { reader.read_line().await }
                };
                let task = if round < 10 {
                    anyloop::create_task(read)?
                } else {
                    // Dropped, not cancelled.
                    anyloop::create_task(async move {
                        let none = timeout(Duration::ZERO, read).await;
                        none.unwrap_or(Ok(Vec::new()))
                    })?
                };
                yield_now().await;
                if round < 10 {
                    task.cancel();
                }
                let taken = match task.await {
                    Ok(read) => read?.len(),
                    Err(Error::Cancelled(_)) => 0,
                    Err(error) => return Err(error),
                };
                let rest = file.read_to_end().await?;
                // In the pool, what has begun has read.
                if WAY.get() != Way::Fallback {
                    assert!(rest == bytes[taken..], "{taken} taken, {} left", rest.len());
                }
            }
            Ok(())
        })
    }

    fn calls_wait_for_a_read_in_progress(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let disk = forgotten(&path, b"aaaabbbbcccc");
            drop(disk);
            let file = OpenOptions::new().read(true).write(true).open(&path).await?;
            let (f1, f2, f3, f4) = (file.clone(), file.clone(), file.clone(), file.clone());
            let first = anyloop::create_task(async move { f1.read(4).await })?;
            let write = anyloop::create_task(async move { f2.write_all("XXXX").await })?;
            let second = anyloop::create_task(async move { f3.read(10).await })?;
            let close = anyloop::create_task(async move { f4.close().await })?;
            assert_eq!(first.await??, b"aaaa");
            write.await??;
            assert_eq!(second.await??, b"cccc");
            close.await??;
            assert!(matches!(file.read(1).await, Err(Error::Closed(_))));
            assert_eq!(open_descriptors(&path), 0);
            assert_eq!(fs::read(&path).await?, b"aaaaXXXXcccc");
            Ok(())
        })
    }

    fn long_lines(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let mut text = vec![b'x'; 300_000];
            for end in [0, 5, 8191, 8192, 100_000, 299_990] {
                text[end] = b'\n';
            }
            let disk = forgotten(&scratch.path("file"), &text);
            let file = File::from_std(disk.try_clone().expect("a descriptor"));
            let mut lines = 0;
            for expected in text.split_inclusive(|byte| *byte == b'\n') {
                forget(&disk);
                assert!(file.read_line().await? == expected, "line {lines}");
                lines += 1;
            }
            assert_eq!((lines, file.read_line().await?.len()), (7, 0));
            Ok(())
        })
    }

    fn far_offsets(backend) {
        everywhere(backend, async || {
            const FAR: u64 = 5 << 30;
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let file = OpenOptions::new().read(true).write(true).create(true).open(&path).await?;
            file.write_all_at(FAR, "far away").await?;
            assert_eq!(file.read_at(FAR + 4, 10).await?, b"away");
            assert_eq!(file.seek(SeekFrom::Start(FAR)).await?, FAR);
            assert_eq!(file.read(4).await?, b"far ");
            assert_eq!(file.read_line().await?, b"away");
            assert_eq!(file.tell().await?, FAR + 8);
            assert_eq!(file.read_at(FAR * 2, 10).await?, b"");
            assert_eq!(kind(file.read_at(u64::MAX, 10).await), Some(ErrorKind::InvalidInput));
            Ok(())
        })
    }

    fn a_fifo_holds_up_nobody(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let path = scratch.path("fifo");
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
                .expect("a fifo");
            let p2 = path.clone();
            let opening = anyloop::create_task(async move { File::open(p2).await })?;
            let writer = OpenOptions::new().write(true).open(&path).await?;
            let reader = opening.await??;
            let r2 = reader.clone();
            let reading = anyloop::create_task(async move { r2.read(100).await })?;
            for _ in 0..100 {
                yield_now().await;
            }
            assert!(!reading.done(), "there is nothing to read");
            writer.write_all("some").await?;
            assert_eq!(reading.await??, b"some");
            writer.write_all("a line\nrest").await?;
            writer.close().await?;
            assert_eq!(reader.read_line().await?, b"a line\n");
            assert_eq!(reader.read_line().await?, b"rest");
            assert_eq!(reader.read(10).await?, b"");
            assert_eq!(kind(reader.seek(SeekFrom::Start(0)).await), Some(ErrorKind::NotSeekable));
            Ok(())
        })
    }

    fn a_full_device_and_devices_without_an_end(backend) {
        everywhere(backend, async || {
            let full = OpenOptions::new().write(true).open("/dev/full").await?;
            let error = full.write_all("x").await.expect_err("there is no space");
            assert_eq!(error.io_kind(), ErrorKind::StorageFull);
            assert!(error.to_string().starts_with("write \"/dev/full\": "), "{error}");
            let zero = File::open("/dev/zero").await?;
            assert_eq!(zero.read(5).await?, [0; 5]);
            assert_eq!(zero.read(10 << 20).await?.len(), 1 << 20, "one piece");
            Ok(())
        })
    }

    fn two_loops_share_a_file(backend) {
        const PIECE: usize = 500;
        for way in [Way::Best, Way::NoEngine, Way::Fallback] {
            let scratch = Scratch::new();
            // Each piece tells where it is from.
            let piece = |number: u32| [&number.to_le_bytes()[..], &[7; PIECE - 4]].concat();
            let bytes: Vec<u8> = (0..400).flat_map(piece).collect();
            let disk = forgotten(&scratch.path("file"), &bytes);
            let file = File::from_std(disk.try_clone().expect("a descriptor"));
            let read = |file: File, disk: std::fs::File| -> Result<Vec<u32>> {
                let lp = new_loop(backend, way)?;
                let done = lp.run_until_complete(async move {
                    let mut seen = Vec::new();
                    loop {
                        if seen.len() % 20 == 0 {
                            forget(&disk);
                        }
                        let piece = file.read(PIECE).await?;
                        if piece.is_empty() {
                            return Ok(seen);
                        }
                        assert_eq!(piece.len(), PIECE);
                        let number = piece.first_chunk().expect("it is long enough");
                        seen.push(u32::from_le_bytes(*number));
                    }
                });
                lp.close()?;
                done?
            };
            let (f2, d2) = (file.clone(), disk.try_clone().expect("a descriptor"));
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(move || read(f2, d2));
                (read(file, disk), other.join().expect("no panic"))
            });
            let (one, other) = (one?, other?);
            assert!(one.is_sorted() && other.is_sorted(), "{way:?}: against the order");
            let mut all = [one, other].concat();
            all.sort_unstable();
            assert!(all == (0..400).collect::<Vec<_>>(), "{way:?}: {all:?}");
        }
        Ok(())
    }

    fn a_loop_closes_with_reads_in_progress(backend) {
        for way in [Way::Best, Way::NoEngine, Way::Fallback] {
            let scratch = Scratch::new();
            let path = scratch.path("file");
            let lp = new_loop(backend, way)?;
            for begun in [false, true] {
                drop(forgotten(&path, &pattern(100_000)));
                let p2 = path.clone();
                lp.run_until_complete(async move {
                    let file = File::open(p2).await?;
                    for _ in 0..5 {
                        let file = file.clone();
                        drop(anyloop::create_task(async move { file.read(4096).await.map(drop) })?);
                    }
                    if begun {
                        yield_now().await;
                    }
                    Ok::<_, Error>(())
                })??;
            }
            lp.close()?;
            // What the pool has begun goes on to its end.
            let start = std::time::Instant::now();
            while open_descriptors(&path) > 0 {
                assert!(start.elapsed() < PATIENCE, "{way:?}: the file is still open");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn directories(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let deep = scratch.path("a/b/c");
            assert_eq!(kind(fs::create_dir(&deep).await), Some(ErrorKind::NotFound));
            fs::create_dir_all(&deep).await?;
            let names: BTreeSet<_> = (0..150).map(|number| format!("file-{number}")).collect();
            for name in &names {
                fs::write(deep.join(name), name.as_bytes()).await?;
            }
            let mut listing = fs::read_dir(&deep).await?;
            let mut found = BTreeSet::new();
            while let Some(entry) = listing.next().await? {
                assert!(entry.file_type().await?.is_file());
                assert_eq!(entry.metadata().await?.len() as usize, entry.file_name().len());
                assert!(entry.path().starts_with(&deep));
                found.insert(entry.file_name().to_string_lossy().into_owned());
            }
            assert!(listing.next().await?.is_none());
            assert_eq!(found, names);
            assert_eq!(kind(fs::remove_dir(&deep).await), Some(ErrorKind::DirectoryNotEmpty));
            let (from, to) = (deep.join("file-1"), scratch.path("moved"));
            fs::rename(&from, &to).await?;
            assert!(!fs::try_exists(&from).await? && fs::try_exists(&to).await?);
            assert_eq!(fs::copy(&to, &from).await?, 6);
            fs::hard_link(&to, scratch.path("link")).await?;
            fs::remove_file(&to).await?;
            assert_eq!(fs::read(scratch.path("link")).await?, b"file-1");
            fs::remove_dir_all(scratch.path("a")).await?;
            assert_eq!(kind(fs::metadata(&deep).await), Some(ErrorKind::NotFound));
            assert_eq!(kind(fs::read_dir(&deep).await), Some(ErrorKind::NotFound));
            Ok(())
        })
    }

    fn an_error_names_what_and_where(backend) {
        everywhere(backend, async || {
            let path = Path::new("/nonexistent/file");
            let error = File::open(path).await.expect_err("it is not there");
            assert!(error.to_string().starts_with("open \"/nonexistent/file\": "), "{error}");
            let error = fs::read("/").await.expect_err("a directory");
            assert_eq!(error.io_kind(), ErrorKind::IsADirectory, "{error}");
            let error = fs::rename(path, "/nonexistent/other").await.expect_err("neither is there");
            let expected = "rename \"/nonexistent/file\" to \"/nonexistent/other\": ";
            assert!(error.to_string().starts_with(expected), "{error}");
            let file = std::fs::File::open("/").expect("a directory");
            let expected = format!("read descriptor {}: ", file.as_raw_fd());
            let error = File::from_std(file).read_to_end().await.expect_err("a directory");
            assert!(error.to_string().starts_with(&expected), "{error}");
            Ok(())
        })
    }

    fn without_a_pool_there_are_no_files(backend) {
        everywhere(backend, async || {
            let scratch = Scratch::new();
            let file = File::create(scratch.path("file")).await?;
            let lp = LoopRef::current()?;
            lp.shutdown_default_executor(Some(Duration::from_secs(5))).await;
            assert!(matches!(file.write_all("x").await, Err(Error::Usage(_))));
            assert!(matches!(fs::read(scratch.path("file")).await, Err(Error::Usage(_))));
            // Nor does the refused call wait for its turn for ever.
            let threads = Arc::new(Threads);
            lp.set_default_executor(threads);
            assert!(matches!(file.write_all("y").await, Err(Error::Usage(_))));
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Threads;

impl anyloop::Executor for Threads {
    fn execute(&self, job: anyloop::Job) -> Result<()> {
        std::thread::spawn(job);
        Ok(())
    }
}
