//! What `gather` takes, and what becomes of that while it is gathered.

use std::future::{Future, IntoFuture};

use anyloop_api::Result;

use crate::combinators::child::{AnyChild, Child};
use crate::combinators::output::TaskOutput;

/// What [`gather`](super::gather()) takes: tuples, vectors and arrays of things that can be awaited.
pub trait Children {
    /// The values of all.
    type Values;
    /// The same with a `Result` for each.
    type Results;
    #[doc(hidden)]
    type Group: Group<Values = Self::Values, Results = Self::Results>;
    #[doc(hidden)]
    fn into_group(self) -> Self::Group;
}

/// Children that are being gathered.
pub trait Group: 'static {
    type Values;
    type Results;
    fn len(&self) -> usize;
    fn child(&self, number: usize) -> &dyn AnyChild;
    fn child_mut(&mut self, number: usize) -> &mut dyn AnyChild;
    fn values(self) -> Result<Self::Values>;
    fn results(self) -> Self::Results;
}

/// The future inside something that can be awaited, and the value that it gives.
type Awaited<A> = <A as IntoFuture>::IntoFuture;
type ValueOf<A> = <<A as IntoFuture>::Output as TaskOutput>::Value;

impl<A> Children for Vec<A>
where
    A: IntoFuture<Output: TaskOutput, IntoFuture: 'static>,
{
    type Values = Vec<ValueOf<A>>;
    type Results = Vec<Result<ValueOf<A>>>;
    type Group = Vec<Child<Awaited<A>>>;

    fn into_group(self) -> Self::Group {
        self.into_iter().map(|child| Child::new(child.into_future())).collect()
    }
}

impl<A, const N: usize> Children for [A; N]
where
    A: IntoFuture<Output: TaskOutput, IntoFuture: 'static>,
{
    type Values = Vec<ValueOf<A>>;
    type Results = Vec<Result<ValueOf<A>>>;
    type Group = Vec<Child<Awaited<A>>>;

    fn into_group(self) -> Self::Group {
        self.into_iter().map(|child| Child::new(child.into_future())).collect()
    }
}

impl<F: Future<Output: TaskOutput> + 'static> Group for Vec<Child<F>> {
    type Values = Vec<<F::Output as TaskOutput>::Value>;
    type Results = Vec<Result<<F::Output as TaskOutput>::Value>>;

    fn len(&self) -> usize {
        self.len()
    }

    fn child(&self, number: usize) -> &dyn AnyChild {
        &self[number]
    }

    fn child_mut(&mut self, number: usize) -> &mut dyn AnyChild {
        &mut self[number]
    }

    fn values(self) -> Result<Self::Values> {
        self.into_iter().map(|mut child| child.take()).collect()
    }

    fn results(self) -> Self::Results {
        self.into_iter().map(|mut child| child.take()).collect()
    }
}

impl Children for () {
    type Values = ();
    type Results = ();
    type Group = ();

    fn into_group(self) {}
}

impl Group for () {
    type Values = ();
    type Results = ();

    fn len(&self) -> usize {
        0
    }

    fn child(&self, number: usize) -> &dyn AnyChild {
        unreachable!("nothing has no child {number}")
    }

    fn child_mut(&mut self, number: usize) -> &mut dyn AnyChild {
        unreachable!("nothing has no child {number}")
    }

    fn values(self) -> Result<()> {
        Ok(())
    }

    fn results(self) {}
}

macro_rules! tuples {
    ($($name:ident $number:tt)+) => {
        impl<$($name),+> Children for ($($name,)+)
        where
            $($name: IntoFuture<Output: TaskOutput, IntoFuture: 'static>,)+
        {
            type Values = ($(ValueOf<$name>,)+);
            type Results = ($(Result<ValueOf<$name>>,)+);
            type Group = ($(Child<Awaited<$name>>,)+);

            fn into_group(self) -> Self::Group {
                ($(Child::new(self.$number.into_future()),)+)
            }
        }

        impl<$($name: Future<Output: TaskOutput> + 'static),+> Group for ($(Child<$name>,)+) {
            type Values = ($(<$name::Output as TaskOutput>::Value,)+);
            type Results = ($(Result<<$name::Output as TaskOutput>::Value>,)+);

            fn len(&self) -> usize {
                [$($number),+].len()
            }

            fn child(&self, number: usize) -> &dyn AnyChild {
                match number {
                    $($number => &self.$number,)+
                    _ => unreachable!("a tuple has no child {number}"),
                }
            }

            fn child_mut(&mut self, number: usize) -> &mut dyn AnyChild {
                match number {
                    $($number => &mut self.$number,)+
                    _ => unreachable!("a tuple has no child {number}"),
                }
            }

            fn values(mut self) -> Result<Self::Values> {
                Ok(($(self.$number.take()?,)+))
            }

            fn results(mut self) -> Self::Results {
                ($(self.$number.take(),)+)
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0 B 1);
tuples!(A 0 B 1 C 2);
tuples!(A 0 B 1 C 2 D 3);
tuples!(A 0 B 1 C 2 D 3 E 4);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);
