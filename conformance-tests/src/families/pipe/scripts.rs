//! Random scripts over pipes, named pipes and sockets.

use super::*;
use crate::tools::{Author, Deed, Play, Step, random_scripts};

/// So much is written at most, each way.
const MOST: usize = 1_000_000;

/// A reading and a writing end.
type Ends = (OwnedFd, OwnedFd);

fn ends(number: u64, directory: &TempDir) -> Result<[Ends; 2], Failure> {
    Ok(match number % 3 {
        0 => [pipe()?, pipe()?],
        1 => {
            let path = |name: &str| directory.path().join(format!("{name}-{number}"));
            [fifo(&path("out"))?, fifo(&path("in"))?]
        }
        _ => {
            let ((read, write), (other_read, other_write)) = (socket_pair()?, socket_pair()?);
            [(read.into(), write.into()), (other_read.into(), other_write.into())]
        }
    })
}

pub(super) fn any_order_of_writes_reads_and_runs(cx: &Context) -> Outcome {
    let text = Rc::new(pattern(MOST));
    let directory = TempDir::new()?;
    random_scripts(
        |rng| Step::random(rng, Deed::random),
        |number, script| {
            let lp = cx.new_loop()?;
            let [(from_us, ours), (theirs, to_us)] = ends(number, &directory)?;
            for end in [&from_us, &to_us] {
                rustix::io::ioctl_fionbio(end, true)?;
            }
            let (here, there) = (Rc::new(Author::new(&text)), Rc::new(Author::new(&text)));
            drop(writer(&lp, here.record(), ours)?);
            drop(reader(&lp, there.record(), theirs)?);
            run_once(&lp)?;
            Play::new((here, from_us), (there, to_us), &text).play(&lp, script)
        },
    )
}
