//! Readiness: what is asked about, and what a poll saw.

/// Directions of readiness somebody is interested in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Interest {
    /// Tell when the descriptor becomes readable.
    pub readable: bool,
    /// Tell when the descriptor becomes writable.
    pub writable: bool,
}

impl Interest {
    /// Neither direction: the registration stays, silent. `epoll` and `poll(2)` report hang-ups and errors
    /// even so; a driver over them takes the descriptor out of the kernel's set until `modify` puts it back
    /// ([`registrations`](crate::registrations)).
    pub const NONE: Self = Self { readable: false, writable: false };
    /// Reading only.
    pub const READ: Self = Self { readable: true, writable: false };
    /// Writing only.
    pub const WRITE: Self = Self { readable: false, writable: true };
    /// Both directions.
    pub const BOTH: Self = Self { readable: true, writable: true };
}

/// What a poll saw on a descriptor. More may be reported than was asked for.
///
/// ```
/// use anyloop_core::driver::Readiness;
/// let seen = Readiness::default().readable(true).closed(true);
/// assert!(seen.readable && !seen.writable && seen.closed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// A read will not block (data, end of stream, or an error to fetch).
    pub readable: bool,
    /// A write will not block (room, or an error to fetch).
    pub writable: bool,
    /// The peer closed or half-closed, or an error is pending (`RDHUP`, `HUP`, `ERR`): a short read
    /// does not prove that the socket is drained.
    pub closed: bool,
}

impl Readiness {
    /// See [`Readiness::readable`](Self#structfield.readable).
    #[must_use]
    #[inline]
    pub const fn readable(mut self, yes: bool) -> Self {
        self.readable = yes;
        self
    }

    /// See [`Readiness::writable`](Self#structfield.writable).
    #[must_use]
    #[inline]
    pub const fn writable(mut self, yes: bool) -> Self {
        self.writable = yes;
        self
    }

    /// See [`Readiness::closed`](Self#structfield.closed).
    #[must_use]
    #[inline]
    pub const fn closed(mut self, yes: bool) -> Self {
        self.closed = yes;
        self
    }
}
