//! The seed programs of the contract's part 4, on every backend, with what is to be observed.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling", feature = "hyper"))]
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::duplicate_mod, reason = "each seed is a program of its own, with its parts")]

#[macro_use]
mod support;

macro_rules! seed {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(dead_code, reason = "the example's own main")]
        mod $name;
    };
}

seed!(a_run_forever, "../examples/seeds/a_run_forever.rs");
seed!(b_nested, "../examples/seeds/b_nested.rs");
seed!(c_future, "../examples/seeds/c_future.rs");
seed!(d_protocol_echo, "../examples/seeds/d_protocol_echo.rs");
seed!(e_stream_lines, "../examples/seeds/e_stream_lines.rs");
seed!(f_subprocess_lines, "../examples/seeds/f_subprocess_lines.rs");
seed!(g_signal_stops, "../examples/seeds/g_signal_stops.rs");
seed!(h_two_runs, "../examples/seeds/h_two_runs.rs");
seed!(i_graceful_shutdown, "../examples/seeds/i_graceful_shutdown.rs");
seed!(j_wait_modes, "../examples/seeds/j_wait_modes.rs");
seed!(k_gather_as_completed, "../examples/seeds/k_gather_as_completed.rs");
seed!(l_producer_consumers, "../examples/seeds/l_producer_consumers.rs");
seed!(m_bounded_fetchers, "../examples/seeds/m_bounded_fetchers.rs");
seed!(n_fibonacci_service, "../examples/seeds/n_fibonacci_service.rs");
seed!(o_raw_socket_echo, "../examples/seeds/o_raw_socket_echo.rs");
seed!(p_crawler, "../examples/seeds/p_crawler.rs");
seed!(q_async_generators, "../examples/seeds/q_async_generators.rs");

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyloop::Result;

/// The callbacks with consecutive pieces of data as one, and the data.
fn calls(log: &[String]) -> (Vec<&str>, String) {
    let (mut order, mut data) = (Vec::new(), String::new());
    for line in log {
        match line.strip_prefix("data_received ") {
            Some(_) if order.last() == Some(&"data_received") => {}
            Some(_) => order.push("data_received"),
            None => order.push(line),
        }
        data.push_str(line.strip_prefix("data_received ").unwrap_or_default());
    }
    (order, data)
}

/// Whether the crawler's site answers with an error.
fn fails(path: &str) -> bool {
    path == "/missing" || path.ends_with('9')
}

/// How many of the crawler's pages are behind broken ones only.
fn broken_children() -> usize {
    let behind = |mut page: usize| {
        while page > 0 {
            page = (page - 1) / 2;
            if page % 10 == 9 {
                return true;
            }
        }
        false
    };
    (0..p_crawler::PAGES).filter(|page| behind(*page)).count()
}

type Set = std::thread::JoinHandle<std::io::Result<HashSet<String>>>;

/// What the crawler needs of Redis: SADD, for one client.
fn small_redis() -> std::io::Result<(SocketAddr, Set)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let serve = move || {
        let mut set = HashSet::new();
        let (client, _) = listener.accept()?;
        let mut lines = BufReader::new(&client).lines();
        while let Some(count) = lines.next().transpose()? {
            assert_eq!(count, "*3", "an array of three");
            let words: Vec<_> = (0..3)
                .map(|_| {
                    let length = lines.next().expect("a length")?;
                    let word = lines.next().expect("a word")?;
                    assert_eq!(length, format!("${}", word.len()));
                    Ok(word)
                })
                .collect::<std::io::Result<_>>()?;
            assert_eq!(words[..2], ["SADD", "visited"]);
            let new = set.insert(words[2].clone());
            (&client).write_all(if new { b":1\r\n" } else { b":0\r\n" })?;
        }
        Ok(set)
    };
    Ok((address, std::thread::spawn(serve)))
}

on_every_backend! {
    fn a(backend) {
        let seen = a_run_forever::run(backend)?;
        // One tick at the start, then at most one per period; how many fewer is the machine's affair.
        assert!((1..=11).contains(&seen.ticks.0), "{seen:?}");
        assert!((1..=5).contains(&seen.ticks.1), "{seen:?}");
        assert!(seen.ticks.0 >= seen.ticks.1, "{seen:?}");
        assert!(seen.took >= Duration::from_millis(100), "{seen:?}");
        assert!(seen.pending, "{seen:?}");
        assert!(seen.resumed.0 > seen.ticks.0 && seen.resumed.1 > seen.ticks.1, "{seen:?}");
        let destroyed = "a task was destroyed while it was pending";
        assert_eq!(seen.reports, [destroyed, destroyed]);
        Ok(())
    }

    fn b(backend) {
        let seen = b_nested::run(backend)?;
        assert_eq!(seen.result, 41);
        // As many iterations more as there are suspensions.
        assert_eq!(seen.iterations.1 - seen.iterations.0, 3, "{seen:?}");
        assert_eq!(seen.failure, "leaf: zero");
        Ok(())
    }

    fn c(backend) {
        let seen = c_future::run(backend)?;
        assert_eq!(seen.log, ["set_result returned", "callback: Future is done!"]);
        assert_eq!(seen.result, "Future is done!");
        assert_eq!(seen.twice, "set_result: the future is already set");
        Ok(())
    }

    fn d(backend) {
        let seen = d_protocol_echo::run(backend)?;
        // The server closes after the first piece that arrives; usually that is all of it.
        let (at_server, at_client) = (calls(&seen.server), calls(&seen.client));
        assert_eq!(at_server, at_client);
        assert_eq!(at_client.0, ["connection_made", "data_received", "connection_lost None"]);
        assert!(!at_client.1.is_empty() && "Hello World!".starts_with(&at_client.1), "{seen:?}");
        Ok(())
    }

    fn e(backend) {
        let seen = e_stream_lines::run(backend)?;
        assert_eq!(seen.lines, ["ONE\n", "TWO\n", "THREE"]);
        assert!(seen.at_eof, "{seen:?}");
        assert_eq!(seen.closed, (true, true));
        Ok(())
    }

    fn f(backend) {
        let (slow, quick) = f_subprocess_lines::run(backend)?;
        let lines: Vec<_> = slow.lines.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!((lines, slow.status), (vec!["line 1\n", "line 2\n", "line 3\n"], 3));
        // They come as they are printed: the child pauses for 50 ms between them.
        for pair in slow.lines.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(25), "{slow:?}");
        }
        assert_eq!((&*quick.lines[0].0, quick.lines.len(), quick.status), ("quick\n", 1, 0));
        for pid in [slow.pid, quick.pid] {
            let zombie = std::path::Path::new("/proc").join(pid.to_string());
            let status = std::fs::read_to_string(zombie.join("status")).unwrap_or_default();
            assert!(!status.contains("zombie"), "{status}");
        }
        Ok(())
    }

    fn g(backend) {
        // One at a time: all of them are this process's SIGINT.
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = ONE.lock();
        let me = rustix::process::getpid();
        let press = || {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                rustix::process::kill_process(me, rustix::process::Signal::INT)
            });
        };
        let seen = g_signal_stops::run(backend, press)?;
        assert!(seen.ran >= Duration::from_millis(30) && seen.ran < Duration::from_secs(10));
        assert!(matches!(seen.handled, (Some(true) | None, Some(false) | None)), "{seen:?}");
        Ok(())
    }

    fn h(backend) {
        let seen = h_two_runs::run(backend)?;
        let at = |text| seen.log.iter().position(|line| line == text);
        // Nothing happens between the runs; the timer that came due there fires first thing, before
        // anything that the second run has to wait for.
        assert!(at("background done") > at("between the runs"), "{seen:?}");
        assert!(at("background done") < at("second done"), "{seen:?}");
        assert_eq!(at("background done").zip(at("second")).map(|(a, b)| a.abs_diff(b)), Some(1));
        assert!(seen.finished);
        Ok(())
    }

    fn i(backend) {
        let seen = i_graceful_shutdown::run(backend)?;
        assert_eq!(seen.log, ["flushed", "all ended", "closed"]);
        assert!(seen.flusher_cancelled);
        assert_eq!(seen.stubborn?, "a value after all");
        let failure = seen.failing.unwrap_err().to_string();
        assert_eq!(failure, "could not clean up");
        assert_eq!(seen.reports, [""; 0]);
        Ok(())
    }

    fn j(backend) {
        let seen = j_wait_modes::run(backend)?;
        let [all, first, failed] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((all.done, all.pending), (5, 0), "{all:?}");
        assert!(first.done >= 1 && first.done + first.pending == 5, "{first:?}");
        assert!(failed.done >= 3 && failed.done + failed.pending == 5, "{failed:?}");
        for seen in [all, failed] {
            assert_eq!(seen.errors, ["work 3 failed"]);
        }
        assert!(seen.iter().all(|one| one.running && one.ended == 5), "{seen:?}");
        Ok(())
    }

    fn k(backend) {
        let seen = k_gather_as_completed::run(backend)?;
        assert_eq!((seen.gathered, seen.completed), (vec![3, 2, 1], vec![1, 2, 3]));
        assert!(seen.original);
        Ok(())
    }

    fn l(backend) {
        let [unbounded, bounded] = l_producer_consumers::run(backend)?;
        assert!(bounded.longest <= 2, "{bounded:?}");
        for mut seen in [unbounded, bounded] {
            seen.handled.sort_unstable();
            assert!(seen.handled.iter().copied().eq(0..l_producer_consumers::ITEMS), "{seen:?}");
            assert_eq!(seen.at_join, seen.handled.len());
            assert_eq!(seen.cancelled, [true; 3]);
        }
        Ok(())
    }

    fn m(backend) {
        let seen = m_bounded_fetchers::run(backend)?;
        // The one that gets no answer, and at least one beside it.
        assert!((2..=5).contains(&seen.most), "{seen:?}");
        assert_eq!((seen.complete, seen.free), (m_bounded_fetchers::PAGES, 5), "{seen:?}");
        assert!(seen.cancelled, "{seen:?}");
        Ok(())
    }

    fn n(backend) {
        let seen = n_fibonacci_service::run(backend, 36)?;
        assert_eq!((&*seen.answer, &*seen.pinged.0), ("6765", "pong"));
        assert!(seen.meanwhile, "the ping waited: {seen:?}");
        assert!(seen.parallel && seen.cancelled && seen.computed, "{seen:?}");
        Ok(())
    }

    fn o(backend) {
        let seen = o_raw_socket_echo::run(backend)?;
        assert_eq!(seen.right, o_raw_socket_echo::CLIENTS);
        assert!(seen.cancelled && !seen.answered_afterwards, "{seen:?}");
        assert_eq!(seen.tasks, 1);
        Ok(())
    }

    fn p(backend) {
        let file = std::env::temp_dir().join(format!("anyloop-p-{backend}-{}", std::process::id()));
        let (redis, set) = small_redis()?;
        for visited in [None, Some(redis)] {
            let mut seen = p_crawler::run(backend, &file, visited)?;
            // Every page once, "/missing" among them, and one well-formed line for each.
            assert_eq!(seen.requests.len(), p_crawler::PAGES - broken_children() + 1);
            let lines = seen.lines.iter().map(|line| line.split_once(' '));
            let mut paths: Vec<_> = lines.map(|line| line.map(|(path, _)| path.to_owned())).collect();
            paths.sort_unstable();
            seen.requests.sort_unstable();
            let requests: Vec<_> = seen.requests.iter().cloned().map(Some).collect();
            assert_eq!(paths, requests, "the file's paths and the requests");
            assert!(requests.windows(2).all(|pair| pair[0] != pair[1]), "{requests:?}");
            let failed = seen.lines.iter().filter(|line| line.contains(" failed: ")).count();
            assert_eq!(failed, requests.iter().flatten().filter(|path| fails(path)).count());
            let well_formed = |line: &String| {
                line.ends_with(" failed: 500\n") || line.ends_with(" failed: 404\n")
                    || line.contains(" links to ") && line.ends_with('\n')
            };
            assert!(seen.lines.iter().all(well_formed), "{:?}", seen.lines);
        }
        let set = set.join().expect("the small Redis ends with its client")?;
        assert!(set.contains("/missing") && set.len() > 30, "{set:?}");
        std::fs::remove_file(file)?;
        Ok(())
    }

    fn q(backend) {
        let seen = q_async_generators::run(backend)?;
        assert_eq!(seen.log, [
            "whole yields 0", "whole got 0", "whole yields 1", "whole got 1", "whole is left", "whole cleaned up",
            "half yields 0", "half yields 1", "half is left", "half cleaned up",
            "unfinished yields 0", "unfinished is left", "unfinished cleaned up",
        ]);
        assert_eq!(seen.squares, [0, 1, 4, 9]);
        let of = |name| seen.both.iter().position(|line| line == name);
        assert!(of("left got 0") < of("right yields 1") && of("right got 0") < of("left yields 1"), "{seen:?}");
        assert_eq!(seen.both.len(), 12);
        Ok(())
    }
}
