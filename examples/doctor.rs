//! What this machine gives anyloop: kernel, limits, backends, which one would be chosen, and one second
//! of echo on each. The first thing to put into a bug report.
//!
//! ```text
//! cargo run --release --example doctor
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/echo.rs"]
mod echo;

use std::cell::{Cell, OnceCell};
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyloop::{
    BackendDescriptor, Bind, Connect, Error, EventLoopExt, Protocol, Result, Transport, sleep,
};

const CLIENTS: usize = 16;
const MESSAGE: [u8; 1024] = [b'!'; 1024];
const FOR: Duration = Duration::from_secs(1);

fn main() {
    println!("anyloop {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    system();
    limits();
    environment();
    let working = backends();
    selection();
    println!("\none second of echo: {CLIENTS} clients, {} bytes there and back", MESSAGE.len());
    for backend in working {
        match measure(backend) {
            Ok(messages) => println!("  {:<10}{messages:>9} messages", backend.name),
            Err(error) => println!("  {:<10}{error}", backend.name),
        }
    }
}

fn system() {
    let kernel = |file: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{file}")).ok()?;
        Some(text.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    println!("kernel      {}", kernel("osrelease").unwrap_or_else(unknown));
    let cpus = std::thread::available_parallelism();
    println!("cpus        {}", cpus.map_or_else(|_| unknown(), |cpus| cpus.to_string()));
    // Absent before Linux 6.6.
    if let Some(value) = kernel("io_uring_disabled") {
        let meaning = match value.as_str() {
            "0" => "allowed for everybody",
            "1" => "allowed for some processes only",
            _ => "forbidden",
        };
        println!("io_uring    {meaning} (io_uring_disabled = {value})");
    }
}

fn limits() {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for (label, name) in [("nofile", "Max open files"), ("memlock", "Max locked memory")] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let mut words = line.unwrap_or_default().split_whitespace();
        let soft = words.next().unwrap_or("unknown");
        let hard = words.next().unwrap_or("unknown");
        println!("{label:<12}{soft} (hard limit {hard})");
    }
}

fn environment() {
    let ours =
        |(name, value): (String, String)| name.starts_with("ANYLOOP").then_some((name, value));
    let mut set: Vec<_> = std::env::vars().filter_map(ours).collect();
    set.sort();
    if set.is_empty() {
        println!("environment no ANYLOOP variable is set");
    }
    for (name, value) in set {
        println!("environment {name}={value}");
    }
}

/// Prints what each probe says; returns those that work.
fn backends() -> Vec<&'static BackendDescriptor> {
    println!("\nbackends");
    let mut working = Vec::new();
    for backend in anyloop::backends() {
        println!("  {:<10}{}", backend.name, backend.summary);
        match (backend.probe)() {
            Ok(found) => {
                println!("  {:<10}works: {found}", "");
                working.push(backend);
            }
            Err(why) => println!("  {:<10}does not work: {why}", ""),
        }
    }
    working
}

fn selection() {
    match anyloop::selection() {
        Ok(selection) => println!("\nchosen      {selection}"),
        Err(error) => println!("\nchosen      none: {error}"),
    }
}

/// Sends, waits for the echo, sends again.
struct Client {
    transport: OnceCell<Transport>,
    missing: Cell<usize>,
    messages: Rc<Cell<u64>>,
}

impl Client {
    fn send(&self) {
        self.missing.set(MESSAGE.len());
        if let Some(transport) = self.transport.get() {
            let _ = transport.write(MESSAGE);
        }
    }
}

impl Protocol for Client {
    fn connection_made(&self, transport: Transport) {
        let _ = self.transport.set(transport);
        self.send();
    }

    fn data_received(&self, data: &[u8]) {
        self.missing.set(self.missing.get().saturating_sub(data.len()));
        if self.missing.get() == 0 {
            self.messages.set(self.messages.get() + 1);
            self.send();
        }
    }
}

/// How many messages came back in a second; client and server on one loop.
fn measure(backend: &'static BackendDescriptor) -> Result<u64> {
    anyloop::run_with(backend, async {
        let lp = anyloop::get_running_loop()?;
        let server = lp.serve(echo::Echo::default, Bind::to("127.0.0.1", 0)).await?;
        let address = server.local_addr().ok_or_else(|| Error::usage("no address"))?;
        let messages = Rc::new(Cell::new(0));
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let messages = messages.clone();
            let client =
                move || Client { transport: OnceCell::new(), missing: Cell::new(0), messages };
            clients.push(lp.connect(client, Connect::from(address)).await?.0);
        }
        let (before, started) = (messages.get(), Instant::now());
        sleep(FOR).await;
        let count = messages.get() - before;
        let rate = count as f64 / started.elapsed().as_secs_f64();
        for client in clients {
            client.abort();
        }
        server.close();
        server.wait_closed().await?;
        Ok(rate as u64)
    })?
}
