//! The cases: one module per family, named as the family, listed here.

use crate::case::Case;

/// The tables of all families that have cases, in the contract's order.
pub(crate) const FAMILIES: &[&[Case]] = &[];
