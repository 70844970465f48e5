//! Calls of one file: their order, their cancellation, the end.

use super::*;

on_every_backend! {
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
}
