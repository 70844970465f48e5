//! How every transport begins: the protocol is made, and the creating call returns after
//! `connection_made` (TR-01, CONN-11), or takes everything back if it is cancelled before.

use std::rc::{Rc, Weak};

use anyloop_api::{Error, EventLoopExt, Panic, Result};

use crate::base::BaseLoop;

/// A transport that was made, but does not live yet.
pub(crate) trait Begin: 'static {
    /// What the user gets.
    type Handle: 'static;

    /// The user's handle.
    fn handle(&self) -> Self::Handle;

    /// `connection_made`, then the traffic begins.
    fn begin(&self);

    /// Nobody wants it any more.
    fn abandon(&self);
}

/// Calls a protocol factory. A panic is the caller's, and the caller learns of it; nobody else needs to.
pub(crate) fn make<P>(factory: impl FnOnce() -> P) -> Result<P> {
    Panic::catch(factory).map_err(Error::from)
}

/// Begins in the next iteration, and returns the user's handle when that is done.
pub(crate) async fn begin<T: Begin>(
    base: Weak<BaseLoop>,
    transport: Rc<T>,
    operation: &'static str,
) -> Result<T::Handle> {
    let unclaimed = Unclaimed(Some(transport.clone()));
    let begun = {
        let base = crate::connect::open(&base, operation)?;
        let begun = base.create_future::<T::Handle>();
        let done = begun.clone();
        base.soon(move || {
            // The user's handle, held until the caller has it.
            let handle = transport.handle();
            transport.begin();
            done.set_unless_done(Ok(handle));
        });
        begun
    };
    let handle = begun.await?;
    unclaimed.claim();
    Ok(handle)
}

/// Takes the transport back if the call was cancelled meanwhile (CONN-07, -08).
struct Unclaimed<T: Begin>(Option<Rc<T>>);

impl<T: Begin> Unclaimed<T> {
    fn claim(mut self) {
        self.0 = None;
    }
}

impl<T: Begin> Drop for Unclaimed<T> {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.abandon();
        }
    }
}
