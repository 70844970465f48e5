//! Ctrl-C, in processes of their own: a signal needs a main thread, and somebody else to send it.
//!
//! Each trial runs this program again with a scenario, waits for it to say that it is ready, sends
//! SIGINT as often as the scenario wants, and looks at what it said and how it ended.
#![allow(missing_docs, clippy::print_stdout, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyloop::{
    EventLoopExt, LoopRef, Result, catch_cancel, current_task, on_cancel, run_with, sleep,
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

const HOUR: Duration = Duration::from_secs(3600);

struct Scenario {
    name: &'static str,
    /// What the process does.
    run: fn(&'static str),
    /// How it is started, if not directly.
    through: Option<&'static str>,
    /// How often it gets SIGINT; after each it says a line, or ends.
    signals: usize,
    /// What it says, line by line.
    says: &'static [&'static str],
    /// Whether the signal is to kill it.
    killed: bool,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario {
        // RUN-09
        name: "the_first_one_cancels_main",
        run: |backend| {
            say_outcome(run_with(backend, async {
                on_cancel(wait(), || async {
                    sleep(Duration::from_millis(5)).await;
                    println!("cleaned up");
                })
                .await;
            }));
        },
        through: None,
        signals: 1,
        says: &["ready", "cleaned up", "Err(Interrupt)"],
        killed: false,
    },
    Scenario {
        // RUN-10
        name: "the_second_one_interrupts",
        run: |backend| {
            say_outcome(run_with(backend, async {
                let _ = catch_cancel(wait()).await;
                println!("no, thanks");
                sleep(HOUR).await;
            }));
        },
        through: None,
        signals: 2,
        says: &["ready", "no, thanks", "Err(Interrupt)"],
        killed: false,
    },
    Scenario {
        name: "main_may_refuse",
        run: |backend| {
            say_outcome(run_with(backend, async {
                let _ = catch_cancel(wait()).await;
            }));
        },
        through: None,
        signals: 1,
        says: &["ready", "Ok"],
        killed: false,
    },
    Scenario {
        // RUN-11
        name: "cancelled_for_another_reason_too",
        run: |backend| {
            say_outcome(run_with(backend, async {
                let main = current_task().expect("inside a task");
                on_cancel(wait(), || async move {
                    main.cancel();
                    sleep(HOUR).await;
                })
                .await;
            }));
        },
        through: None,
        signals: 1,
        says: &["ready", "Err(Cancelled)"],
        killed: false,
    },
    Scenario {
        // RUN-12: over the default disposition only.
        name: "an_ignored_signal_stays_ignored",
        run: |backend| {
            say_outcome(run_with(backend, async {
                println!("ready");
                sleep(Duration::from_millis(300)).await;
            }));
        },
        through: Some("trap '' INT; exec \"$@\""),
        signals: 1,
        says: &["ready", "Ok"],
        killed: false,
    },
    Scenario {
        // RUN-12: the application's own handler stays.
        name: "a_handler_of_the_application_stays",
        run: |backend| {
            say_outcome(run_with(backend, async {
                let lp = LoopRef::current().expect("inside a run");
                let l2 = lp.clone();
                lp.add_signal_handler(2, move || {
                    println!("mine");
                    l2.stop();
                })
                .expect("SIGINT can be handled");
                wait().await;
            }));
        },
        through: None,
        signals: 1,
        says: &["ready", "mine", "Err(Usage)"],
        killed: false,
    },
    Scenario {
        // RUN-12: on the main thread only.
        name: "not_on_another_thread",
        run: |backend| {
            let other = std::thread::spawn(move || say_outcome(run_with(backend, wait())));
            other.join().expect("no panic");
        },
        through: None,
        signals: 1,
        says: &["ready"],
        killed: true,
    },
    Scenario {
        // RUN-12
        name: "removed_afterwards",
        run: |backend| {
            say_outcome(run_with(backend, async {}));
            println!("ready");
            std::thread::sleep(HOUR);
        },
        through: None,
        signals: 1,
        says: &["Ok", "ready"],
        killed: true,
    },
];

async fn wait() {
    println!("ready");
    sleep(HOUR).await;
}

fn say_outcome(outcome: Result<()>) {
    match outcome {
        Ok(()) => println!("Ok"),
        Err(error) => {
            let text = format!("{error:?}");
            println!("Err({})", text.split(['(', ' ']).next().unwrap_or_default());
        }
    }
}

impl Scenario {
    fn check(&self, backend: &'static str) -> Result<(), Failed> {
        let program = std::env::current_exe()?;
        let mut command = match self.through {
            None if ignored()? => {
                let mut env = Command::new("env");
                env.arg("--default-signal=INT").arg(program);
                env
            }
            None => Command::new(program),
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script, "sh"]).arg(program);
                shell
            }
        };
        command.env(VARIABLE, format!("{}::{backend}", self.name)).stdout(Stdio::piped());
        let child = command.process_group(0).spawn()?;
        let mut child = Running(child);
        let lines = BufReader::new(child.0.stdout.take().ok_or("no output")?).lines();
        let pid = Pid::from_child(&child.0);
        let mut said = Vec::new();
        let mut signals = 0;
        for line in lines {
            said.push(line?);
            if said.iter().any(|line| line == "ready") && signals < self.signals {
                signals += 1;
                kill_process(pid, Signal::INT)?;
            }
        }
        let status = child.wait()?;
        if said != self.says {
            return Err(format!("it said {said:?}, status {status}").into());
        }
        let right = if self.killed { status.signal() == Some(2) } else { status.success() };
        if right { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}

/// Whether SIGINT is ignored here, as in the background of a script; children inherit that.
fn ignored() -> Result<bool, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(u64::from_str_radix(mask.unwrap_or("0").trim(), 16)? & 2 != 0)
}

struct Running(Child);

impl Running {
    fn wait(&mut self) -> Result<std::process::ExitStatus, Failed> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err("it does not end".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names the scenario and backend in the process that is to play it.
const VARIABLE: &str = "CTRL_C_SCENARIO";

fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var(VARIABLE) {
        for backend in anyloop::backends() {
            for scenario in &SCENARIOS {
                if wanted == format!("{}::{}", scenario.name, backend.name) {
                    (scenario.run)(backend.name);
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    let mut trials = Vec::new();
    for backend in anyloop::backends() {
        for scenario in &SCENARIOS {
            let name = format!("{}::{}", scenario.name, backend.name);
            let unavailable = (backend.probe)().err();
            trials.push(
                Trial::test(name, move || scenario.check(backend.name))
                    .with_ignored_flag(unavailable.is_some())
                    .with_kind(unavailable.unwrap_or_default()),
            );
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
