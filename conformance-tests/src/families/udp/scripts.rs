//! Random scripts of datagrams both ways between local sockets that hold little: each arrives once, whole
//! and in order.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use fastrand::Rng;

use super::*;
use crate::tools::{Step, one_of, random_scripts};

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// So many.
    Send(usize),
    /// The high-water mark.
    Limits(usize),
    /// So many, or as many as there is room for.
    TheySend(usize),
    TheyRead(usize),
}

impl Deed {
    fn random(rng: &mut Rng) -> Self {
        let count = one_of(rng, &[1, 2, 20, 50]);
        match rng.u8(..10) {
            0..4 => Self::Send(count),
            4 => Self::Limits(one_of(rng, &[0, 1, 1_000, 65_536])),
            5..7 => Self::TheySend(count),
            _ => Self::TheyRead(count),
        }
    }
}

/// The datagram with this number: no two in a row have the same size, and some are empty.
fn message(number: usize) -> Vec<u8> {
    vec![number as u8; [0, 1, 700, 20, 3000, 4][number % 6]]
}

struct Play {
    transport: DatagramTransport,
    far: UnixDatagram,
    sent: Cell<usize>,
    they_sent: Cell<usize>,
    they_read: RefCell<Vec<Vec<u8>>>,
}

impl Play {
    fn act(&self, deed: Deed) -> Outcome {
        match deed {
            Deed::Send(count) => {
                for number in self.sent.get()..self.sent.get() + count {
                    self.transport.sendto(message(number), None)?;
                    self.sent.set(number + 1);
                }
            }
            Deed::Limits(high) => self.transport.set_write_buffer_limits(Some(high), None)?,
            Deed::TheySend(count) => {
                for number in self.they_sent.get()..self.they_sent.get() + count {
                    match self.far.send(&message(number)) {
                        Ok(_) => self.they_sent.set(number + 1),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Deed::TheyRead(count) => {
                let mut buffer = [0; 4000];
                for _ in 0..count {
                    let Ok(length) = self.far.recv(&mut buffer) else { break };
                    self.they_read.borrow_mut().push(buffer[..length].to_vec());
                }
            }
        }
        Ok(())
    }

    /// They read until nothing of ours waits.
    fn drain(&self, lp: &LoopRef) -> Outcome {
        while self.transport.get_write_buffer_size() > 0 {
            self.act(Deed::TheyRead(1000))?;
            run_once(lp)?;
        }
        Ok(())
    }
}

fn play(cx: &Context, script: &[Step<Deed>]) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = narrow_pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    let play = Rc::new(Play {
        transport,
        far,
        sent: Cell::default(),
        they_sent: Cell::default(),
        they_read: RefCell::default(),
    });
    let player = play.clone();
    Step::take_all(script, &lp, move |deed| player.act(deed), || play.drain(&lp))?;
    run_once(&lp)?;
    post.until_received(&lp, play.they_sent.get())?;
    play.transport.close();
    while !post.is_lost() {
        play.act(Deed::TheyRead(1000))?;
        run_once(&lp)?;
    }
    play.act(Deed::TheyRead(1000))?;
    ensure_is!(post.lost_with(), None);
    let all = |count: usize| (0..count).map(message).collect::<Vec<_>>();
    ensure!(*play.they_read.borrow() == all(play.sent.get()), "other datagrams came out");
    ensure!(post.datagrams() == all(play.they_sent.get()), "other datagrams came in");
    let events = post.events();
    let flow = events.iter().filter(|event| ["pause", "resume"].contains(&event.as_str()));
    let alternate = flow.zip(["pause", "resume"].iter().cycle()).all(|(is, due)| is == due);
    ensure!(alternate, "callbacks: {events:?}");
    Ok(())
}

pub(super) fn any_order_of_sends_reads_and_runs(cx: &Context) -> Outcome {
    random_scripts(|rng| Step::random(rng, Deed::random), |_, script| play(cx, script))
}
