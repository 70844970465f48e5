//! Every order of a few actions, in one batch and in different ones: what races are made of.

use anyloop_api::yield_now;

/// One way in which `N` actions may follow each other.
#[derive(Clone, Debug)]
pub struct Interleaving<const N: usize> {
    /// The numbers of the actions, in their order.
    order: [usize; N],
    /// Whether an iteration passes between an action and the next one.
    gaps: [bool; N],
}

/// All orders of `N` actions, each with and without an iteration between neighbours: N! · 2^(N-1).
#[must_use]
pub fn interleavings<const N: usize>() -> Vec<Interleaving<N>> {
    let mut orders = Vec::new();
    permute(&mut std::array::from_fn(|at| at), 0, &mut orders);
    let gaps = 0..1u32 << N.saturating_sub(1);
    orders
        .into_iter()
        .flat_map(|order| {
            gaps.clone().map(move |gaps| Interleaving {
                order,
                gaps: std::array::from_fn(|at| gaps & (1 << at) != 0),
            })
        })
        .collect()
}

fn permute<const N: usize>(order: &mut [usize; N], from: usize, all: &mut Vec<[usize; N]>) {
    if from >= N {
        all.push(*order);
    }
    for at in from..N {
        order.swap(from, at);
        permute(order, from + 1, all);
        order.swap(from, at);
    }
}

impl<const N: usize> Interleaving<N> {
    /// Performs the actions in this way: `act` is called with their numbers.
    pub async fn play(&self, mut act: impl FnMut(usize)) {
        for (number, gap) in self.order.into_iter().zip(self.gaps) {
            act(number);
            if gap {
                yield_now().await;
            }
        }
    }

    /// Whether action `first` comes before `second`, and an iteration passes in between.
    #[must_use]
    pub fn apart(&self, first: usize, second: usize) -> bool {
        let at = |action| self.order.iter().position(|number| *number == action);
        match (at(first), at(second)) {
            (Some(first), Some(second)) => {
                first < second && self.gaps[first..second].iter().any(|gap| *gap)
            }
            _ => false,
        }
    }

    /// Whether action `first` comes before `second`.
    #[must_use]
    pub fn before(&self, first: usize, second: usize) -> bool {
        let at = |action| self.order.iter().position(|number| *number == action);
        at(first) < at(second)
    }
}

/// Lets every woken task run, and what these wake, a few times over.
pub async fn settle_tasks() {
    for _ in 0..8 {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_of_them_and_each_once() {
        let all = interleavings::<3>();
        let unique: HashSet<_> = all.iter().map(|way| format!("{way:?}")).collect();
        assert_eq!((all.len(), unique.len()), (24, 24));
        assert_eq!(interleavings::<1>().len(), 1);
        let apart = interleavings::<2>().iter().filter(|way| way.apart(0, 1)).count();
        let before = interleavings::<2>().iter().filter(|way| way.before(0, 1)).count();
        assert_eq!((apart, before), (1, 2));
    }
}
