//! Random scripts of receives, sends and cancellations: nothing is lost, and nothing comes twice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use fastrand::Rng;

use super::*;
use crate::tools::{one_of, or_nothing, pattern, random_scripts, socket_pair};

/// So much is sent at most, each way.
const MOST: usize = 2_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So much, into a buffer of the caller's or not.
    Receive(bool, usize),
    CancelReceive,
    Send(usize),
    /// Nobody knows how much has left: it is the last one.
    CancelSend,
    TheyWrite(usize),
    TheyRead(usize),
    Yield,
    /// Whatever is ready is noticed.
    Idle,
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        let size = one_of(rng, &[1, 300, 5_000, 70_000, 300_000]);
        match rng.u8(..50) {
            0..10 => Self::Receive(rng.bool(), size),
            10..16 => Self::CancelReceive,
            16..22 => Self::Send(size),
            22 => Self::CancelSend,
            23..31 => Self::TheyWrite(size),
            31..37 => Self::TheyRead(size),
            37..47 => Self::Yield,
            _ => Self::Idle,
        }
    }
}

/// A socket, its peer, and one operation in each direction.
struct Play {
    lp: LoopRef,
    near: Sock,
    far: UnixStream,
    text: Rc<Vec<u8>>,
    receiving: Option<Task<Outcome>>,
    received: Rc<RefCell<Vec<u8>>>,
    they_wrote: usize,
    sending: Option<Task<Outcome>>,
    given_up: bool,
    sent: usize,
    they_read: Vec<u8>,
}

impl Play {
    fn new(lp: &LoopRef, text: &Rc<Vec<u8>>) -> Result<Self, Failure> {
        let (near, far) = socket_pair()?;
        Ok(Self {
            lp: lp.clone(),
            near: Sock::new(near)?,
            far,
            text: text.clone(),
            receiving: None,
            received: Rc::default(),
            they_wrote: 0,
            sending: None,
            given_up: false,
            sent: 0,
            they_read: Vec::new(),
        })
    }

    async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Receive(into, size) => self.receive(into, size)?,
            Step::CancelReceive => {
                if let Some(receiving) = &self.receiving {
                    receiving.cancel();
                }
            }
            Step::Send(size) => self.send(size)?,
            Step::CancelSend => {
                if let Some(sending) = &self.sending {
                    self.given_up |= sending.cancel();
                }
            }
            Step::TheyWrite(size) => {
                let end = self.text.len().min(self.they_wrote + size);
                let piece = &self.text[self.they_wrote..end];
                self.they_wrote += or_nothing(self.far.write(piece))?;
            }
            Step::TheyRead(size) => {
                self.they_read(size)?;
            }
            Step::Yield => yield_now().await,
            Step::Idle => idle().await,
        }
        Ok(())
    }

    fn they_read(&mut self, size: usize) -> Result<usize, Failure> {
        let mut piece = vec![0; size];
        let count = or_nothing(self.far.read(&mut piece))?;
        self.they_read.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn receive(&mut self, into: bool, size: usize) -> Outcome {
        if self.receiving.as_ref().is_some_and(|receiving| !receiving.done()) {
            return Ok(());
        }
        let (lp, near, received) = (self.lp.clone(), self.near.clone(), self.received.clone());
        self.receiving = Some(self.lp.create_task(async move {
            let bytes = if into {
                let (count, mut buffer) = lp.sock_recv_into(&near, vec![0; size]).await;
                buffer.truncate(count?);
                buffer
            } else {
                lp.sock_recv(&near, size).await?
            };
            ensure!(!bytes.is_empty() && bytes.len() <= size, "{} of {size} bytes", bytes.len());
            received.borrow_mut().extend(bytes);
            Ok(())
        })?);
        Ok(())
    }

    fn send(&mut self, size: usize) -> Outcome {
        let busy = self.sending.as_ref().is_some_and(|sending| !sending.done());
        let end = self.text.len().min(self.sent + size);
        if busy || self.given_up || end == self.sent {
            return Ok(());
        }
        let (lp, near) = (self.lp.clone(), self.near.clone());
        let piece = self.text[self.sent..end].to_vec();
        self.sent = end;
        self.sending =
            Some(self.lp.create_task(async move { Ok(lp.sock_sendall(&near, piece).await.0?) })?);
        Ok(())
    }

    async fn finish(mut self) -> Outcome {
        while self.received.borrow().len() < self.they_wrote {
            self.receive(false, MOST)?;
            ended(self.receiving.take()).await?;
        }
        self.step(Step::CancelReceive).await?;
        ended(self.receiving.take()).await?;
        ensure!(*self.received.borrow() == self.text[..self.they_wrote], "other bytes came in");
        if self.given_up {
            ended(self.sending.take()).await?;
        }
        loop {
            let count = self.they_read(MOST)?;
            let sending = self.sending.as_ref().is_some_and(|sending| !sending.done());
            if count == 0 && !sending {
                break;
            }
            yield_now().await;
        }
        ended(self.sending.take()).await?;
        let count = self.they_read.len();
        ensure!(count == self.sent || (self.given_up && count < self.sent), "{count} came out");
        ensure!(self.text.starts_with(&self.they_read), "other bytes came out");
        Ok(())
    }
}

/// The end of an operation that may have been cancelled.
async fn ended(task: Option<Task<Outcome>>) -> Outcome {
    match task {
        None => Ok(()),
        Some(task) => match task.await {
            Err(Error::Cancelled(_)) => Ok(()),
            ended => ended?,
        },
    }
}

pub(super) fn in_any_order_with_others(cx: &Context) -> Outcome {
    let text = Rc::new(pattern(MOST));
    random_scripts(Step::random, |_, script| {
        let lp = cx.new_loop()?;
        let mut play = Play::new(&lp, &text)?;
        let script = script.to_vec();
        run(&lp, async move {
            for step in script {
                play.step(step).await?;
            }
            play.finish().await
        })?;
        lp.close()?;
        Ok(())
    })
}
