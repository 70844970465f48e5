//! The file suite: CPU time of a read or a write, in memory or not, by the pool or without it.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyloop::{EventLoopExt, LoopConfig};
use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::cli::Options;
use crate::machine;
use crate::report::{Section, markdown, progress};
use crate::stats::median;

/// Who reads and writes: name, and what makes it.
const SUBJECTS: [(&str, Subject); 6] = [
    ("pread, pwrite", Subject::Bare),
    ("tokio, spawn_blocking", Subject::Tokio),
    ("anyloop-mio, pool", Subject::Anyloop("mio", true)),
    ("anyloop-mio", Subject::Anyloop("mio", false)),
    ("anyloop-polling", Subject::Anyloop("polling", false)),
    ("anyloop-uring", Subject::Anyloop("uring", false)),
];

#[derive(Clone, Copy)]
enum Subject {
    Bare,
    Tokio,
    /// The backend, and whether its fallback is forced.
    Anyloop(&'static str, bool),
}

/// What is done, how large the block is, and how many make a slice.
const WORK: [(Work, usize, u32); 6] = [
    (Work::Read, 4 << 10, 4000),
    (Work::Read, 64 << 10, 1000),
    (Work::ReadMissing, 4 << 10, 200),
    (Work::ReadMissing, 64 << 10, 200),
    (Work::Write, 4 << 10, 1000),
    (Work::Write, 64 << 10, 300),
];

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Read,
    /// What the page cache does not have.
    ReadMissing,
    Write,
}

/// The file, and the blocks of one slice.
struct Slice {
    file: Arc<File>,
    work: Work,
    size: usize,
    offsets: Vec<u64>,
}

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let subjects = options.select(SUBJECTS.to_vec(), |(name, _)| name);
    // The pool shall have both processors.
    let (one, other) = machine::choose_cpus()?;
    let measured = thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            machine::spread(&[one, other])?;
            measure(&subjects, options)
        });
        measuring.join().unwrap_or_else(|_| Err(io::Error::other("the measurement panicked")))
    })?;
    let head = WORK.iter().map(|(work, size, _)| {
        let what = match work {
            Work::Read => "read",
            Work::ReadMissing => "read, missing",
            Work::Write => "write",
        };
        format!("{what}, {} KiB", size >> 10)
    });
    let rows = subjects.iter().zip(&measured).map(|((name, _), cells)| {
        ((*name).to_owned(), cells.iter().map(|cpu| markdown::fixed(*cpu, 1)).collect())
    });
    let text = format!(
        "µs of CPU time of the process for each of many reads and writes, one after the other, at random \
         places of a file of {} MiB in {}. Missing is what `posix_fadvise` has taken out of memory.\n\n{}",
        length(options) >> 20,
        env::temp_dir().display(),
        markdown::table(head.collect(), rows.collect())
    );
    let json = subjects
        .iter()
        .zip(&measured)
        .map(|((name, _), cells)| json!({ "subject": name, "cpu_us": cells }));
    let json = json.collect::<Vec<_>>().into();
    Ok(Section { name: "files", title: "Files", text, json, charts: Vec::new() })
}

fn length(options: &Options) -> u64 {
    if options.smoke { 8 << 20 } else { 256 << 20 }
}

/// µs of CPU time per call, by subject and work.
fn measure(subjects: &[(&str, Subject)], options: &Options) -> io::Result<Vec<Vec<f64>>> {
    let length = length(options);
    let file = Arc::new(scratch(length)?);
    let mut found = vec![vec![Vec::new(); WORK.len()]; subjects.len()];
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for round in 0..options.rounds {
        progress(format_args!("files, round {} of {}", round + 1, options.rounds));
        for (column, &(work, size, count)) in WORK.iter().enumerate() {
            let count = if options.smoke { count / 20 } else { count };
            let blocks = length / size as u64;
            for (row, (_, subject)) in subjects.iter().enumerate() {
                let offsets = (0..count).map(|_| next(&mut seed) % blocks * size as u64).collect();
                let slice = Slice { file: file.clone(), work, size, offsets };
                if work == Work::ReadMissing {
                    file.sync_all()?;
                    fadvise(&file, 0, None, Advice::DontNeed)?;
                }
                let cpu = subject.run(slice)?;
                found[row][column].push(cpu.as_secs_f64() * 1e6 / f64::from(count));
            }
            if work == Work::ReadMissing {
                fill(&file, length, |file, bytes, offset| file.read_exact_at(bytes, offset))?;
            }
        }
    }
    Ok(found.into_iter().map(|row| row.iter().map(|cell| median(cell)).collect()).collect())
}

/// A file without a name, all of it in memory.
fn scratch(length: u64) -> io::Result<File> {
    let path = env::temp_dir().join(format!("anyloop-benchmarks-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    fill(&file, length, |file, bytes, offset| file.write_all_at(bytes, offset))?;
    file.sync_all()?;
    // Else the blocks around a missing one would come along.
    fadvise(&file, 0, None, Advice::Random)?;
    Ok(file)
}

fn fill(
    file: &File,
    length: u64,
    each: impl Fn(&File, &mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = vec![7; 1 << 20];
    (0..length >> 20).try_for_each(|part| each(file, &mut bytes, part << 20))
}

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.try_into().unwrap_or(0))
}

impl Slice {
    /// One call as `std` makes it.
    fn call(&self, offset: u64) -> io::Result<()> {
        if self.work == Work::Write {
            return self.file.write_all_at(&vec![7; self.size], offset);
        }
        self.file.read_exact_at(&mut vec![0; self.size], offset)
    }
}

impl Subject {
    /// The CPU time that the calls take.
    fn run(self, slice: Slice) -> io::Result<Duration> {
        match self {
            Self::Bare => {
                let before = cpu_time();
                slice.offsets.iter().try_for_each(|offset| slice.call(*offset))?;
                Ok(cpu_time() - before)
            }
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(async {
                    // The pool has its thread.
                    tokio::task::spawn_blocking(|| ()).await?;
                    let slice = Arc::new(slice);
                    let before = cpu_time();
                    for offset in slice.offsets.clone() {
                        let slice = slice.clone();
                        tokio::task::spawn_blocking(move || slice.call(offset)).await??;
                    }
                    Ok(cpu_time() - before)
                })
            }
            Self::Anyloop(backend, fallback) => {
                let config = LoopConfig::default().files_fallback(fallback);
                let selection = anyloop::select(backend).map_err(io::Error::other)?;
                let lp = selection.open(&config).map_err(io::Error::other)?;
                let done = lp.run_until_complete(by_anyloop(slice));
                lp.close().map_err(io::Error::other)?;
                done.and_then(|done| done).map_err(io::Error::other)
            }
        }
    }
}

async fn by_anyloop(slice: Slice) -> anyloop::Result<Duration> {
    anyloop::to_thread(|| ()).await?;
    let file = slice.file.try_clone().map_err(|error| anyloop::Error::os("dup", error))?;
    let file = anyloop::fs::File::from_std(file);
    let before = cpu_time();
    for offset in slice.offsets {
        if slice.work == Work::Write {
            file.write_all_at(offset, vec![7; slice.size]).await?;
        } else {
            let bytes = file.read_at(offset, slice.size).await?;
            assert_eq!(bytes.len(), slice.size, "a block");
        }
    }
    Ok(cpu_time() - before)
}
