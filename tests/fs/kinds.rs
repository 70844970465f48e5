//! FIFOs, devices, directories, and what cannot be opened.

use super::*;

on_every_backend! {
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
}
