//! Files and directories on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyloop::fs::{self, File, OpenOptions};
use anyloop::{Error, LoopRef, Result, yield_now};

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
        Err(error @ Error::Os { .. }) => Some(error.io_kind()),
        _ => None,
    }
}

on_every_backend! {
    fn a_file_goes_over_a_stream(backend) {
        support::run(backend, async {
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
        })?
    }

    fn reads_writes_seeks(backend) {
        support::run(backend, async {
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
        })?
    }

    fn appends(backend) {
        support::run(backend, async {
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
        })?
    }

    fn calls_of_one_file_keep_their_order(backend) {
        support::run(backend, async {
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
        })?
    }

    fn a_cancelled_call_leaves_the_file_usable(backend) {
        support::run(backend, async {
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
        })?
    }

    fn closing(backend) {
        support::run(backend, async {
            let scratch = Scratch::new();
            let file = File::create(scratch.path("file")).await?;
            let clone = file.clone();
            file.write_all("x").await?;
            file.close().await?;
            assert!(matches!(clone.write_all("y").await, Err(Error::Closed(_))));
            assert!(matches!(clone.close().await, Err(Error::Closed(_))));
            assert!(format!("{clone:?}").contains("closed"), "{clone:?}");
            Ok(())
        })?
    }

    fn the_loop_turns_meanwhile(backend) {
        support::run(backend, async {
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
        })?
    }

    fn directories(backend) {
        support::run(backend, async {
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
        })?
    }

    fn an_error_names_what_and_where(backend) {
        support::run(backend, async {
            let path = Path::new("/nonexistent/file");
            let error = File::open(path).await.expect_err("it is not there");
            assert!(error.to_string().starts_with("open \"/nonexistent/file\": "), "{error}");
            let error = fs::read("/").await.expect_err("a directory");
            assert_eq!(error.io_kind(), ErrorKind::IsADirectory, "{error}");
            Ok(())
        })?
    }

    fn without_a_pool_there_are_no_files(backend) {
        support::run(backend, async {
            let scratch = Scratch::new();
            let file = File::create(scratch.path("file")).await?;
            let lp = LoopRef::current()?;
            lp.shutdown_default_executor(Some(Duration::from_secs(5))).await;
            assert!(matches!(file.write_all("x").await, Err(Error::Usage(_))));
            assert!(matches!(fs::read(scratch.path("file")).await, Err(Error::Usage(_))));
            // Nor does the refused call wait for its turn for ever.
            let threads = std::sync::Arc::new(Threads);
            lp.set_default_executor(threads);
            assert!(matches!(file.write_all("y").await, Err(Error::Usage(_))));
            Ok(())
        })?
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
