//! A foreign loop drives ours: a bare epoll loop, as a GUI or another runtime would have one, with an
//! anyloop loop as one of the descriptors that it watches. `cargo run --example embed uring`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::io;
use std::time::Duration;

use anyloop::{
    EventLoopExt, LoopRef, Result, Task, open_connection, sleep, start_server, to_thread,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{Timespec, epoll::Event};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// What happened.
#[derive(Debug)]
pub struct Seen {
    /// Ticks of the host's own timer.
    pub ticks: usize,
    /// How often the host let our loop take a turn.
    pub turns: usize,
    /// What the echo server inside said.
    pub answer: String,
    /// What a thread told the loop inside.
    pub from_thread: &'static str,
}

const OURS: u64 = 1;
const TICK: u64 = 2;

/// The host: an epoll instance with a timer of its own. It knows three things about the loop inside:
/// its descriptor, how long it may wait, and how to let it take a turn.
fn host<T>(lp: &LoopRef, program: &Task<T>) -> Result<(usize, usize)> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let ours = lp.as_fd().ok_or_else(|| io::Error::other("this backend cannot be embedded"))?;
    epoll::add(&epoll, ours, EventData::new_u64(OURS), EventFlags::IN).map_err(io::Error::from)?;
    let timer = ticking(Duration::from_millis(10)).map_err(io::Error::from)?;
    epoll::add(&epoll, &timer, EventData::new_u64(TICK), EventFlags::IN)
        .map_err(io::Error::from)?;

    let (mut ticks, mut turns) = (0, 0);
    let mut events: Vec<Event> = Vec::with_capacity(8);
    while !program.done() {
        let timeout = lp.next_timeout().map(timespec);
        events.clear();
        let waited = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&epoll, waited, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let mut tick_only = !events.is_empty();
        for event in &events {
            if event.data.u64() == TICK {
                rustix::io::read(&timer, &mut [0; 8]).map_err(io::Error::from)?;
                ticks += 1;
            } else {
                tick_only = false;
            }
        }
        // The host's own business is no reason for a turn.
        if !tick_only {
            lp.turn()?;
            turns += 1;
        }
    }
    Ok((ticks, turns))
}

fn ticking(period: Duration) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let period = timespec(period);
    let each = Itimerspec { it_interval: period, it_value: period };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &each)?;
    Ok(timer)
}

/// Rounded up, to a millisecond: `epoll_wait` knows no less, and a host that wakes early turns in vain.
fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let duration = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    duration.try_into().unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// What runs inside: an echo server, a client that takes its time, and a function in a thread.
async fn program() -> Result<(String, &'static str)> {
    let server = start_server("127.0.0.1:0", |reader, writer| async move {
        while let Some(line) = reader.next_line().await? {
            writer.write(&line);
            writer.drain().await?;
        }
        Ok(())
    })
    .await?;
    let address = server.local_addr().ok_or_else(|| io::Error::other("no address"))?;
    let (reader, writer) = open_connection(address).await?;
    let mut answer = String::new();
    for word in ["driven", "by", "epoll"] {
        sleep(Duration::from_millis(20)).await;
        writer.write(format!("{word}\n").as_bytes());
        answer += &String::from_utf8_lossy(&reader.read_line().await?).replace('\n', " ");
    }
    writer.close();
    server.close();

    let told = to_thread(|| {
        std::thread::sleep(Duration::from_millis(20));
        "a thread was here"
    })
    .await?;
    Ok((answer.trim().to_owned(), told))
}

/// The whole of it on `backend`.
///
/// # Errors
/// Those of the loop.
pub fn run(backend: &str) -> Result<Seen> {
    let lp = anyloop::new_event_loop_with(backend)?;
    let task = lp.create_task(program())?;
    let driven = host(&lp, &task);
    let outcome = driven.and_then(|driven| Ok((driven, task.take_result()??)));
    lp.close()?;
    let ((ticks, turns), (answer, from_thread)) = outcome?;
    Ok(Seen { ticks, turns, answer, from_thread })
}

fn main() -> Result<()> {
    let backend = std::env::args().nth(1);
    let backend = backend.unwrap_or_else(|| "uring".into());
    println!("{backend}: {:?}", run(&backend)?);
    Ok(())
}
