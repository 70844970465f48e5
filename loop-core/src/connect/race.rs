//! Several addresses: one after the other, or staggered (happy eyeballs, RFC 8305).
//!
//! ```text
//!   attempt 1  ├────────────────────✗ closed: it lost
//!              │ delay │
//!   attempt 2          ├──✗ failed: the next begins at once
//!   attempt 3             ├─────────✓ wins
//! ```

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyloop_api::{Error, EventLoopExt, Result, TimerHandle};
use socket2::Socket;

use super::attempt::{Attempt, Begun, Bell};
use super::{NAME, open};
use crate::base::BaseLoop;

/// What is to be tried.
pub(super) struct Plan {
    /// In this order.
    pub(super) addresses: Vec<SocketAddr>,
    /// Where from, if that matters.
    pub(super) local: Option<Vec<SocketAddr>>,
    /// How long an attempt has the field to itself; `None`: until it fails.
    pub(super) delay: Option<Duration>,
}

/// Takes one address of each family in turn, after `first - 1` of the first one's; zero leaves all as it is.
pub(super) fn interleave(addresses: Vec<SocketAddr>, first: usize) -> Vec<SocketAddr> {
    let (Some(lead), Some(ahead)) = (addresses.first(), first.checked_sub(1)) else {
        return addresses;
    };
    let lead = lead.is_ipv6();
    let (mine, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == lead);
    let (mut mine, mut other) = (mine.into_iter(), other.into_iter());
    let mut mixed: Vec<_> = mine.by_ref().take(ahead).collect();
    loop {
        let pair = (mine.next(), other.next());
        mixed.extend(pair.0);
        mixed.extend(pair.1);
        if pair == (None, None) {
            return mixed;
        }
    }
}

/// The first attempt to succeed; the others are closed when this returns, or is dropped. If none does:
/// all errors, in the order in which they came.
pub(super) async fn run(
    base: &Weak<BaseLoop>,
    plan: Plan,
) -> Result<std::result::Result<Socket, Vec<Error>>> {
    let bell = Rc::new(Bell::default());
    let mut waiting = plan.addresses.into_iter();
    let mut running: Vec<Attempt> = Vec::new();
    let mut errors = Vec::new();
    let mut alarm = None;
    let mut due = true;
    loop {
        while due || running.is_empty() {
            let Some(address) = waiting.next() else { break };
            let base = open(base, NAME)?;
            match Attempt::begin(&base, address, plan.local.as_deref(), &bell) {
                Ok(Begun::Connected(socket)) => return Ok(Ok(socket)),
                Ok(Begun::Pending(attempt)) => {
                    running.push(attempt);
                    due = false;
                    alarm = match plan.delay {
                        Some(delay) if waiting.len() > 0 => Some(Alarm::set(&base, delay, &bell)?),
                        _ => None,
                    };
                }
                Err(error) => errors.push(error),
            }
        }
        if running.is_empty() {
            return Ok(Err(errors));
        }
        let ringing = bell.listen(&*open(base, NAME)?);
        ringing.await?;
        let mut index = 0;
        while index < running.len() {
            if !running[index].is_decided() {
                index += 1;
                continue;
            }
            // Others need not wait for their turn behind one that has failed.
            due |= index + 1 == running.len();
            match running.remove(index).finish() {
                Ok(socket) => return Ok(Ok(socket)),
                Err(error) => errors.push(error),
            }
        }
        due |= alarm.as_ref().is_some_and(Alarm::has_rung);
    }
}

/// Rings the bell when the next attempt may begin.
struct Alarm {
    timer: TimerHandle,
    rung: Rc<Cell<bool>>,
}

impl Alarm {
    fn set(base: &BaseLoop, delay: Duration, bell: &Rc<Bell>) -> Result<Self> {
        let rung = Rc::new(Cell::new(false));
        let (bell, flag) = (bell.clone(), rung.clone());
        let timer = base.call_later(delay, move || {
            flag.set(true);
            bell.ring();
        })?;
        Ok(Self { timer, rung })
    }

    fn has_rung(&self) -> bool {
        self.rung.get()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let v4 = |n: u8| SocketAddr::from(([127, 0, 0, n], 1));
        let v6 = |n: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n], 1));
        let all = vec![v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(interleave(all.clone(), 0), all);
        assert_eq!(interleave(all.clone(), 1), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(interleave(all.clone(), 2), [v6(1), v6(2), v4(1), v6(3), v4(2)]);
        assert_eq!(interleave(all.clone(), 9), [v6(1), v6(2), v6(3), v4(1), v4(2)]);
        assert_eq!(interleave(vec![v4(2), v6(1), v4(1)], 1), [v4(2), v6(1), v4(1)]);
        assert_eq!(interleave(vec![], 1), []);
    }
}
