//! Promises that the compiler keeps.

/// Does not compile if the type implements the trait: `assert_not_impl!(LoopRef: Send)`.
macro_rules! assert_not_impl {
    ($type:ty: $trait:path) => {{
        // If the type implements the trait both impls apply, and the call below is ambiguous.
        trait Ambiguous<Which> {
            fn call() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $trait> Ambiguous<u8> for T {}
        <$type as Ambiguous<_>>::call();
    }};
}

/// Does not compile unless the type implements the trait.
macro_rules! assert_impl {
    ($type:ty: $($bound:tt)+) => {{
        fn check<T: ?Sized + $($bound)+>() {}
        check::<$type>();
    }};
}
