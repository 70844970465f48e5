//! Reads that the loop or the pool does meanwhile.

use super::*;

on_every_backend! {
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
            // Seeking is allowed in this one, and reading it would wait for a write.
            let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
            let event = Arc::new(std::fs::File::from(event.expect("an eventfd")));
            let refused = lp.pread(event, 10, 0)?.await?.expect_err("no positions");
            assert_eq!(refused.kind(), ErrorKind::NotSeekable);
            assert!(pread(usize::MAX, 0)?.await?.map_err(error)? == bytes, "all that is asked for");
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
}
