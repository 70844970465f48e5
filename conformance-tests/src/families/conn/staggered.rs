//! Happy eyeballs: attempts that overlap, one winner.

use std::io::ErrorKind;
use std::net::Ipv6Addr;

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, collect, settle, stalled_listener, stalled_listener_at};

pub(super) fn staggered_by_the_delay(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (slow, slower) = (stalled_listener()?, stalled_listener()?);
    let (_listener, at) = listener()?;
    let record = Script::new().record();
    let to = Connect::to_any([slow.address, slower.address, at]).happy_eyeballs_delay(ms(40));
    let begin = Instant::now();
    let (transport, _) = connect(&lp, &record, to)??;
    let took = begin.elapsed();
    ensure_eq!(transport.peer_addr(), Some(at), "the peer");
    // Two others had 40 ms each before it.
    ensure!(took >= ms(80), "the third attempt began within {took:?}");
    ensure!(took < ms(900), "the third attempt took {took:?}");
    Ok(())
}

pub(super) fn at_once_after_a_failure(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ([closed, also_closed], _bound) = refusing()?;
    let (_listener, at) = listener()?;
    let record = Script::new().record();
    let to = Connect::to_any([closed, also_closed, at]).happy_eyeballs_delay(FAR);
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(transport.peer_addr(), Some(at), "the peer");
    Ok(())
}

pub(super) fn not_before_the_delay(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_first, at) = listener()?;
    let (second, later) = listener()?;
    let record = Script::new().record();
    let to = Connect::to_any([at, later]).happy_eyeballs_delay(ms(200));
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(transport.peer_addr(), Some(at), "the peer");
    let left = lp.dump().timers;
    ensure!(left.is_empty(), "an attempt that is not needed is still due: {left:?}");
    run_for(&lp, ms(300))?;
    second.set_nonblocking(true)?;
    let came = second.accept().map(|_| ()).map_err(|error| error.kind());
    ensure_eq!(came, Err(ErrorKind::WouldBlock), "who came to the second one");
    Ok(())
}

pub(super) fn the_losers_are_closed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let stalled = [stalled_listener()?, stalled_listener()?, stalled_listener()?];
    let (_listener, at) = listener()?;
    let before = open_descriptors();
    let record = Script::new().record();
    let addresses = stalled.iter().map(|stalled| stalled.address).chain([at]);
    let to = Connect::to_any(addresses).happy_eyeballs_delay(ms(5));
    let (transport, _) = connect(&lp, &record, to)??;
    ensure_eq!(open_descriptors(), before.map(|count| count + 1), "descriptors at the end");
    ensure_eq!(transport.peer_addr(), Some(at), "the peer");
    record.expect(["made"])
}

pub(super) fn families_take_turns(cx: &Context) -> Outcome {
    let Ok((six, _six)) = bound((Ipv6Addr::LOCALHOST, 0).into()) else {
        return Err(Failure::skip("no IPv6"));
    };
    let lp = cx.new_loop()?;
    let (closed, _bound) = refusing::<3>()?;
    // Nobody listens at any of them: the errors tell the order.
    let order = |to: Connect| -> Result<Vec<usize>, Failure> {
        let to = to.all_errors(true);
        let Error::Group(group) = failed(connect(&lp, &Script::new().record(), to)?)? else {
            return Err(Failure::new("all_errors gave one error"));
        };
        let texts: Vec<_> = group.errors().iter().map(ToString::to_string).collect();
        let all = [closed[0], closed[1], closed[2], six];
        let place = |text: &String| {
            let found = all.iter().position(|address| text.contains(&address.to_string()));
            found.ok_or_else(|| Failure::new(format!("an error without address: {text}")))
        };
        texts.iter().map(place).collect()
    };
    let to = || Connect::to_any([closed[0], closed[1], closed[2], six]);
    ensure_eq!(order(to())?, [0, 1, 2, 3], "the order of attempts");
    ensure_eq!(order(to().interleave(1))?, [0, 3, 1, 2], "with interleave(1)");
    ensure_eq!(order(to().interleave(2))?, [0, 1, 3, 2], "with interleave(2)");
    ensure_eq!(order(to().happy_eyeballs_delay(FAR))?, [0, 3, 1, 2], "with a delay");
    let both = to().happy_eyeballs_delay(FAR).interleave(2);
    ensure_eq!(order(both)?, [0, 1, 3, 2], "with a delay and interleave(2)");
    Ok(())
}

pub(super) fn all_failed_is_all_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let (closed, _bound) = refusing::<4>()?;
    let before = open_descriptors();
    let to = Connect::to_any(closed).happy_eyeballs_delay(ms(1)).all_errors(true);
    let error = failed(connect(&lp, &Script::new().record(), to)?)?;
    ensure_is!(&error, Error::Group(group) if group.errors().len() == 4);
    ensure_eq!(open_descriptors(), before, "descriptors after the failure");
    Ok(())
}

pub(super) fn two_at_the_same_moment(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let first = stalled_listener()?;
    let second = stalled_listener_at("127.0.0.2:0".parse()?)?;
    let before = open_descriptors();
    let record = Script::new().record();
    let to = Connect::to_any([first.address, second.address]).happy_eyeballs_delay(ms(1));
    let task = lp.create_task(lp.create_connection(record.factory(), to))?;
    run_for(&lp, ms(50))?;
    ensure!(!task.done(), "connected to somebody who does not answer");
    // Room for one more each; the kernel knocks again in a second. The loop does not look meanwhile, so
    // that it finds both connected in the same poll.
    let accepted: Vec<_> = [&first, &second]
        .into_iter()
        .map(|stalled| {
            stalled.make_room()?;
            Ok(stalled.listener.accept()?.0)
        })
        .collect::<Result<_, std::io::Error>>()?;
    let (transport, _) = lp.run_until_done(&task)??;
    settle(&lp)?;
    record.expect(["made"])?;
    ensure_eq!(open_descriptors(), before.map(|count| count + 3), "descriptors with the winner");
    let winner = transport.local_addr();
    for accepted in accepted {
        if accepted.peer_addr().ok() != winner {
            // The loser: closed, or reset.
            drop(join(collect(accepted))?);
        }
    }
    Ok(())
}
