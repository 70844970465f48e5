//! The runtimes that can be measured: one file each, one row each.

mod anyloop;
mod bare;
#[cfg(feature = "peers")]
mod compio;
#[cfg(feature = "peers")]
mod glommio;
#[cfg(feature = "peers")]
mod monoio;
#[cfg(feature = "peers")]
mod smol;
mod tokio;

use super::Subject;
use crate::servers::Kind;

/// Every runtime of this build.
pub(super) fn all() -> Vec<Subject> {
    vec![
        Subject::line::<bare::Bare>("async-task"),
        Subject::new::<anyloop::Uring>("anyloop-uring", Kind::Ours),
        Subject::new::<anyloop::Spinning>("anyloop-uring-spin", Kind::Ours),
        Subject::new::<anyloop::Mio>("anyloop-mio", Kind::Ours),
        Subject::new::<anyloop::Polling>("anyloop-polling", Kind::Ours),
        Subject::new::<tokio::Tokio>("tokio", Kind::Peer),
        #[cfg(feature = "peers")]
        Subject::new::<smol::Smol>("smol", Kind::Peer),
        #[cfg(feature = "peers")]
        Subject::new::<monoio::Monoio>("monoio", Kind::Peer),
        #[cfg(feature = "peers")]
        Subject::new::<compio::Compio>("compio", Kind::Peer),
        #[cfg(feature = "peers")]
        Subject::new::<glommio::Glommio>("glommio", Kind::Peer),
    ]
}
