//! Pipes, FIFOs and pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A pipe: the end to read, the end to write. Both block.
///
/// # Errors
/// Those of the operating system.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Makes a FIFO and opens both its ends.
///
/// # Errors
/// Those of the operating system.
pub fn fifo(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
    let read = rustix::fs::open(path, flags | OFlags::RDONLY, Mode::empty())?;
    let write = rustix::fs::open(path, flags | OFlags::WRONLY, Mode::empty())?;
    Ok((read, write))
}

/// A pseudo-terminal that changes nothing of what passes: the two sides.
///
/// # Errors
/// Those of the operating system.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = rustix::pty::openpt(flags | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(&ours, Vec::new())?;
    let theirs =
        rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut attributes = tcgetattr(&theirs)?;
    attributes.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &attributes)?;
    Ok((ours, theirs))
}

/// Writes into a pipe until it is full; how much went in. The end becomes non-blocking.
///
/// # Errors
/// Those of the operating system.
pub fn clog(end: &OwnedFd) -> io::Result<usize> {
    set_nonblocking(end)?;
    let mut total = 0;
    loop {
        match rustix::io::write(end, &[b'.'; 4096]) {
            Ok(count) => total += count,
            Err(Errno::AGAIN) => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Everything that can be read now, and whether the end was reached. The end becomes non-blocking.
///
/// # Errors
/// Those of the operating system.
pub fn drain(end: &impl AsFd) -> io::Result<(Vec<u8>, bool)> {
    set_nonblocking(end)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(end, &mut buffer) {
            Ok(0) => return Ok((bytes, true)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN) => return Ok((bytes, false)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether reads and writes return at once.
///
/// # Errors
/// Those of the operating system.
pub fn is_nonblocking(fd: &impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(fd)?.contains(OFlags::NONBLOCK))
}

/// Makes the number of somebody else's descriptor mean the same file as `file`, behind their back.
///
/// # Errors
/// Those of the operating system.
pub fn replace_descriptor(number: RawFd, file: &impl AsRawFd) -> io::Result<()> {
    nix::unistd::dup2(file.as_raw_fd(), number)?;
    Ok(())
}

fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clogged_pipe_takes_nothing_and_gives_everything() -> io::Result<()> {
        let (read, write) = pipe()?;
        assert!(!is_nonblocking(&write)?);
        let count = clog(&write)?;
        assert!(is_nonblocking(&write)?);
        assert_eq!(rustix::io::write(&write, b"x"), Err(Errno::AGAIN));
        assert_eq!(drain(&read)?, (vec![b'.'; count], false));
        drop(write);
        assert_eq!(drain(&read)?, (Vec::new(), true));
        Ok(())
    }

    #[test]
    fn a_terminal_passes_what_it_gets() -> io::Result<()> {
        let (ours, theirs) = terminal()?;
        rustix::io::write(&ours, b"a\r\nb")?;
        rustix::io::write(&theirs, b"c\n")?;
        assert_eq!(drain(&theirs)?, (b"a\r\nb".to_vec(), false));
        assert_eq!(drain(&ours)?, (b"c\n".to_vec(), false));
        Ok(())
    }
}
