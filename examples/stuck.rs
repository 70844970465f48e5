//! What to do about a loop that hangs: send it a signal, and read what it is doing.
//! `cargo run --example stuck [BACKEND]`
//!
//! A task computes where it should have awaited. The loop answers nobody; the dump that SIGUSR1 asks
//! for names the culprit, for how long it has kept the loop, and everything that waits meanwhile.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use anyloop::{
    Dump, Error, EventLoopExt, LoopRef, Result, create_task, dump_on_signal, new_event_loop_with,
    sleep, start_server,
};
use rustix::process::{Signal, getpid, kill_process};

const LONG: Duration = Duration::from_secs(3600);

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Seen {
    /// The dump of the healthy loop.
    pub(crate) before: Dump,
    /// The one that the signal asked for while the loop was stuck.
    pub(crate) stuck: Dump,
}

/// Does what no task should do: it keeps the thread until somebody has seen it.
fn compute(dumps: &mpsc::Receiver<Result<Dump>>) -> Result<Dump> {
    kill_process(getpid(), Signal::USR1).map_err(io::Error::from)?;
    // "Computes": nothing else of this loop runs until the dump is here.
    dumps.recv().unwrap_or_else(|_| Err(Error::usage("stuck: nobody dumps any more")))
}

async fn main_task(mut show: impl FnMut(&Dump) -> io::Result<()> + Send + 'static) -> Result<Seen> {
    let lp = LoopRef::current()?;
    let (dumped, dumps) = mpsc::channel();
    let on_signal = dump_on_signal(&lp, Signal::USR1.as_raw(), move |dump| {
        let shown = dump.and_then(|dump| {
            show(&dump).map_err(|error| Error::os("stuck: showing the dump", error))?;
            Ok(dump)
        });
        let _ = dumped.send(shown);
    })?;

    let server =
        start_server(
            "127.0.0.1:0",
            |reader, _writer| async move { reader.read_line().await.map(drop) },
        )
        .await?;
    let heartbeat = lp.call_later(LONG, || ())?;
    let worker = create_task(sleep(LONG))?;
    worker.set_name("worker");
    let waiting = worker.clone();
    let boss = create_task(async move { drop(waiting.await) })?;
    boss.set_name("boss");
    sleep(Duration::from_millis(20)).await;

    // From a thread, because a loop that is asked has to have a chance to answer.
    let remote = lp.remote();
    let before = anyloop::to_thread(move || remote.dump(Duration::from_secs(10))).await??;
    let stuck = create_task(async move { compute(&dumps) })?;
    stuck.set_name("number cruncher");
    let stuck = stuck.await??;

    drop(on_signal);
    heartbeat.cancel();
    worker.cancel();
    boss.await?;
    server.close();
    server.wait_closed().await?;
    Ok(Seen { before, stuck })
}

/// Whoever reads the dump of the stuck loop gets it by `show`, in another thread.
pub(crate) fn run(
    backend: &str,
    show: impl FnMut(&Dump) -> io::Result<()> + Send + 'static,
) -> Result<Seen> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task(show))??;
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = match std::env::args().nth(1) {
        Some(name) => name,
        None => anyloop::selection()?.backend.name.to_owned(),
    };
    // Not `println`, which panics where nobody reads.
    let seen = run(&backend, |dump| writeln!(io::stdout(), "{dump}\n"))?;
    writeln!(io::stdout(), "before that, the healthy loop said:\n{}", seen.before)?;
    Ok(())
}
