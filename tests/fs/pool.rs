//! What the pool gets, and what becomes of a job that it drops.

use super::*;

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

#[derive(Debug)]
struct Threads;

impl anyloop::Executor for Threads {
    fn execute(&self, job: anyloop::Job) -> Result<()> {
        std::thread::spawn(job);
        Ok(())
    }
}

on_every_backend! {
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
