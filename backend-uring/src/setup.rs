//! Making a ring: the best set of flags this kernel takes.

use std::io;
use std::os::fd::AsRawFd;
use std::os::raw::{c_int, c_uint};

use io_uring::IoUring;

use crate::config::Config;

/// One set of setup flags. Each rung needs an older kernel than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rung {
    /// One thread owns the ring (6.0). Then it is also created disabled, so that the owner is the
    /// thread that runs it and not the one that made it.
    pub(crate) single_issuer: bool,
    /// Completions are worked off on request only (6.1).
    pub(crate) defer_taskrun: bool,
    /// No table of indices (6.6).
    pub(crate) no_sqarray: bool,
}

const fn rung(single_issuer: bool, defer_taskrun: bool, no_sqarray: bool) -> Rung {
    Rung { single_issuer, defer_taskrun, no_sqarray }
}

const LADDER: [Rung; 4] = [
    rung(true, true, true),    // 6.6
    rung(true, true, false),   // 6.1
    rung(true, false, false),  // 6.0
    rung(false, false, false), // 5.19
];

impl Rung {
    fn allowed(self, config: &Config) -> bool {
        (config.single_issuer || !self.single_issuer)
            && (config.defer_taskrun || !self.defer_taskrun)
            && (config.no_sqarray || !self.no_sqarray)
    }
}

/// Why there is no ring: what the kernel said, and to which system call.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) call: &'static str,
    pub(crate) error: io::Error,
}

/// Makes a ring.
///
/// `EINVAL` means that a flag is not known and leads to the next rung, `ENOMEM` to half the size,
/// once. Anything else is final.
pub(crate) fn build(config: &Config) -> Result<(IoUring, Rung), Refusal> {
    let refuse = |error| Refusal { call: "io_uring_setup", error };
    let (mut sq, mut cq) = (config.sq_entries, config.cq_entries.max(config.sq_entries));
    let mut halved = false;
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for rung in LADDER.into_iter().filter(|rung| rung.allowed(config)) {
        loop {
            match try_rung(rung, sq, cq) {
                Ok(ring) => return Ok((ring, rung)),
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && !halved => {
                    halved = true;
                    (sq, cq) = ((sq / 2).max(1), (cq / 2).max(1));
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    last = error;
                    break;
                }
                Err(error) => return Err(refuse(error)),
            }
        }
    }
    Err(refuse(last))
}

fn try_rung(rung: Rung, sq: u32, cq: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(cq).setup_submit_all().setup_taskrun_flag();
    if rung.single_issuer {
        builder.setup_single_issuer().setup_r_disabled();
    }
    if rung.defer_taskrun {
        builder.setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    if rung.no_sqarray {
        builder.setup_no_sqarray();
    }
    let ring = builder.build(sq)?;
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_skip_cqe_on_success() {
        // Cannot be: both are older than the flags that were just accepted.
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(ring)
}

// What the io-uring crate does not export.

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

const REGISTER_RING_FDS: c_uint = 20;
const UNREGISTER_RING_FDS: c_uint = 21;

/// Gives the calling thread a number of its own for the ring, with which it enters faster. A thread
/// has few of them: without one the ring is entered by its descriptor.
pub(crate) fn register_ring_fd(ring: &IoUring) -> Option<u32> {
    let mut update = RsrcUpdate { offset: u32::MAX, resv: 0, data: ring.as_raw_fd() as u64 };
    register(ring, REGISTER_RING_FDS, &mut update).then_some(update.offset)
}

/// Gives that number back.
pub(crate) fn unregister_ring_fd(ring: &IoUring, index: u32) {
    let mut update = RsrcUpdate { offset: index, resv: 0, data: 0 };
    register(ring, UNREGISTER_RING_FDS, &mut update);
}

/// Registers one update with the ring; whether it took.
fn register(ring: &IoUring, opcode: c_uint, update: &mut RsrcUpdate) -> bool {
    // SAFETY: the kernel reads and writes one `io_uring_rsrc_update` during the call and nothing
    // later; `update` points to one that we own exclusively.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            opcode,
            std::ptr::from_mut(update),
            1 as c_int,
        )
    };
    result == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_choose_the_rung() {
        let first = |config: Config| LADDER.into_iter().find(|rung| rung.allowed(&config)).unwrap();
        assert_eq!(first(Config::new()), LADDER[0]);
        assert_eq!(first(Config::new().no_sqarray(false)), LADDER[1]);
        assert_eq!(first(Config::new().defer_taskrun(false)), LADDER[2]);
        assert_eq!(first(Config::new().single_issuer(false)), LADDER[3]);
    }
}
